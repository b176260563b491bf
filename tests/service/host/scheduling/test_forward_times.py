from concurrent.futures import Future
from dataclasses import replace

import pytest

from service.host.scheduling.forward_times import ForwardTimes
from service.host.scheduling.job import BatchKey, Job
from tests.service.host.scheduling.jobs import job


def times(*rows: int, fixed_s: float, row_s: float) -> ForwardTimes:
    """After forwards of so many rows."""
    times = ForwardTimes()
    for count in rows:
        times.record([job("a") for _ in range(count)], fixed_s + row_s * count)
    return times


def test_nothing_is_known_before_the_first_forward() -> None:
    assert ForwardTimes().rows_within(0.1, job()) is None


def test_rows_are_what_the_time_beyond_the_fixed_one_allows() -> None:
    assert times(1, 8, 64, 16, fixed_s=0.02, row_s=0.01).rows_within(0.1001, job()) == 8


def test_forwards_of_one_size_say_what_a_row_takes_on_average() -> None:
    assert times(4, 4, 4, fixed_s=0.0, row_s=0.01).rows_within(0.101, job()) == 10


def test_there_is_always_one_row() -> None:
    assert times(1, 2, 3, fixed_s=0.01, row_s=7.0).rows_within(0.1, job()) == 1


def test_a_forward_that_takes_longer_whatever_its_rows_is_not_cut_to_single_ones() -> None:
    assert times(1, 8, 64, fixed_s=1.0, row_s=0.0499).rows_within(0.1, job()) == 20


def test_what_forwards_take_by_now_counts_more_than_what_they_took() -> None:
    changed = times(*[1, 8, 32] * 5, fixed_s=0.0, row_s=0.001)
    for count in [1, 8, 32] * 30:
        changed.record([job("a") for _ in range(count)], 0.01 * count)
    assert changed.rows_within(0.101, job()) == 10


@pytest.mark.parametrize(("length", "is_known"), [(33, True), (63, True), (64, False), (8, False)])
def test_rows_of_another_length_have_a_time_of_their_own(length: int, is_known: bool) -> None:
    def text(length: int) -> Job:
        return replace(job(batch_key=BatchKey("text", length)), future=Future())

    times = ForwardTimes()
    times.record([text(17), text(40)], 0.1)
    assert (times.rows_within(0.1, text(length)) is not None) == is_known
