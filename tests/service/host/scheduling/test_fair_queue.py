from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace

from engines import version_of

from service.host.scheduling.job import BatchKey, Job
from service.protocol.types import Part, Selection
from tests.service.host.scheduling.jobs import KIND, job, turns, waiting


def versioned(adapter: str, number: int) -> Job:
    """A job for that version, which has a slot of its own."""
    part = Part(version_of(adapter), f"{adapter}@{number}", 1.0)
    return replace(job(), selections=(Selection((part,)),), future=Future())


def named(text: str) -> Sequence[Job]:
    return [job(name) for name in text.split()]


def test_jobs_of_one_kind_run_together_whatever_their_adapters() -> None:
    assert turns(waiting(job("a"), job(), job("b"), job("a", "b")), 64) == [["a", "base", "b", "a+b"]]


def test_each_adapter_has_its_turn_however_many_wait_for_another() -> None:
    busy = waiting(*named("a a a a a a a a a a b c"))
    assert turns(busy, 1)[:4] == [["a"], ["b"], ["c"], ["a"]]


def test_within_a_batch_too_there_is_one_of_each_in_turn() -> None:
    busy = waiting(*named("a a a a a a b b c"))
    assert turns(busy, 4) == [["a", "b", "c", "a"], ["b", "a", "a", "a"], ["a"]]


def test_who_asks_ten_times_as_much_does_not_make_the_others_forward_much_longer() -> None:
    quiet = [job(f"quiet{n}") for n in range(10)]
    lines = waiting(*(job("greedy") for _ in range(100)), *quiet)
    batch = lines.take(64)
    assert set(quiet) <= set(batch)
    assert len(batch) <= 2 * len(quiet)


def longest_wait(quiet: int, greedy: int) -> int:
    """In rows, of callers with an adapter each beside one who asks `greedy` times at once; all ask again when they are
    answered."""
    lines = waiting(*(job("greedy") for _ in range(greedy)))
    asked_at = {f"quiet{number}": 0 for number in range(quiet)}
    for name in asked_at:
        lines.add(job(name))
    now, waits = 0, list[int]()
    for _ in range(50):
        batch = lines.take(64)
        now += len(batch)
        for (name,) in (one.adapters for one in batch):
            lines.add(job(name))
            if name in asked_at:
                waits.append(now - asked_at[name])
                asked_at[name] = now
    return max(waits)


def test_who_asks_ten_times_as_much_leaves_the_others_waits_bounded() -> None:
    assert longest_wait(quiet=8, greedy=0) == 8
    assert longest_wait(quiet=8, greedy=80) <= 2 * 8
    assert longest_wait(quiet=8, greedy=10_000) <= 2 * 8


def test_a_team_that_waits_alone_or_as_long_as_others_fills_the_forward() -> None:
    assert len(waiting(*named("a " * 70)).take(64)) == 64
    assert len(waiting(*named("a b " * 35)).take(64)) == 64


def test_a_job_that_waits_alone_just_after_others_begins_with_few_rows() -> None:
    lines = waiting(*(job("greedy") for _ in range(300)), *(job(f"quiet{n}") for n in range(4)))
    shared = len(lines.take(64))
    assert shared <= 8
    assert [len(lines.take(64)) for _ in range(5)] == [shared, 2 * shared, 4 * shared, 64, 64]


def test_a_few_rows_more_cost_nobody_anything() -> None:
    assert len(waiting(*named("a a a a a a a a a a b")).take(64)) == 4


def test_a_skipped_job_is_first_next_time() -> None:
    assert turns(waiting(*named("a a a b b c c")), 2) == [["a", "b"], ["c", "a"], ["b", "c"], ["a"]]


def test_a_later_job_waits_behind_those_that_wait_already() -> None:
    lines = waiting(*named("a a a"))
    lines.take(1)
    lines.add(job("b"))
    assert turns(lines, 1) == [["a"], ["b"], ["a"]]


def test_who_is_passed_over_for_his_adapters_keeps_his_turn() -> None:
    waits = job("a")
    lines = waiting(waits, job("b"), job("a"))
    waits_for = {"a"}
    assert [sorted(one.adapters) for one in lines.take(1, waits_for)] == [["b"]]
    assert lines.take(1, waits_for) == ()
    lines.add(job("b"))
    assert lines.take(1)[0] is waits


def test_a_line_whose_first_was_passed_over_does_not_lose_its_turn_by_those_behind_him() -> None:
    old, new = job("a"), versioned("a", 2)
    lines = waiting(new, job("b"), old, job("b"))
    assert lines.take(1, absent=new.keys) == (old,)
    assert lines.take(1) == (new,)


def test_turns_are_the_first_of_each_line_then_the_second() -> None:
    lines = waiting(*named("a a a b c c"))
    assert ["".join(one.adapters) for one in lines.in_fair_order()] == list("abcaca")


def test_one_adapters_jobs_keep_their_order() -> None:
    first, second, third = job("a"), job("a"), job("a")
    lines = waiting(first, second, third)
    assert lines.take(2) == (first, second)
    assert lines.take(2) == (third,)


def test_jobs_of_other_kinds_wait_and_are_not_overtaken_for_ever() -> None:
    other = job("b", batch_key=BatchKey("rows of 5"))
    lines = waiting(job("a"), other, job("a"))
    assert [one.batch_key for one in lines.take(64)] == [KIND, KIND]
    lines.add(job("a"))
    assert lines.take(64) == (other,)


def test_a_job_without_a_kind_runs_alone() -> None:
    alone = job("a", batch_key=None)
    lines = waiting(alone, job("b", batch_key=None), job("b"))
    assert [len(lines.take(64)) for _ in range(3)] == [1, 1, 1]


def test_a_batch_keeps_its_limit_of_rows_and_a_larger_job_runs_alone() -> None:
    lines = waiting(job("a", rows=3), job("b", rows=2), job("c", rows=1), job("d", rows=9))
    assert turns(lines, 4) == [["a", "c"], ["b"], ["d"]]


def test_rows_much_longer_than_others_wait_for_their_like() -> None:
    lengths = (10, 32, 40, 70, 65)
    lines = waiting(*(job(str(length), batch_key=BatchKey("text", length)) for length in lengths))
    assert turns(lines, 64) == [["10", "32"], ["40", "70", "65"]]


def test_who_left_is_no_longer_there() -> None:
    gone, stays = job("a"), job("a")
    lines = waiting(gone, stays)
    lines.discard(gone.team, gone.adapters, gone.future)
    lines.discard(gone.team, gone.adapters, gone.future)
    assert list(lines) == [stays]
    assert lines.withdraw(lambda one: one is stays) == (stays,)
    assert not lines
