"""Teams take turns, and within each team its adapters do."""

from collections.abc import Sequence
from itertools import count

import pytest

from service.host.scheduling.batch_builder import FEW_ROWS
from service.host.scheduling.fair_queue import FairQueue
from service.host.scheduling.job import BatchKey, Job
from tests.service.host.scheduling.jobs import job, turns, waiting


def of(text: str) -> Sequence[Job]:
    """`A.x` is a job of team A for its adapter x."""
    return [job(name, team=name.partition(".")[0]) for name in text.split()]


def test_a_teams_many_adapters_take_no_turn_from_another_team() -> None:
    assert turns(waiting(*of("A.v A.w A.x A.y A.z B.v")), 1)[:3] == [["A.v"], ["B.v"], ["A.w"]]


def test_within_a_team_its_adapters_take_turns_as_they_do_alone() -> None:
    both = turns(waiting(*of("A.x A.x A.x A.y B.v B.v B.v B.v")), 1)
    alone = turns(waiting(*of("A.x A.x A.x A.y")), 1)
    assert [batch for batch in both if batch[0].startswith("A")] == alone == [["A.x"], ["A.y"], ["A.x"], ["A.x"]]


def test_within_a_batch_too_there_is_one_of_each_team_in_turn() -> None:
    assert turns(waiting(*of("A.x A.y A.z B.v B.v")), 4) == [["A.x", "B.v", "A.y", "B.v"], ["A.z"]]


def test_the_busiest_team_gets_no_more_rows_than_all_others_together() -> None:
    lines = waiting(*of("A.u A.v A.w A.x A.y " * 10), *of("B.v B.v B.v C.v"))
    teams = [one.team for one in lines.take(64)]
    assert (teams.count("A"), teams.count("B"), teams.count("C")) == (3, 2, 1)


def test_the_busiest_adapter_of_a_team_gets_no_more_than_its_others_together() -> None:
    lines = waiting(*of("A.x " * 20), *of("A.y A.y A.z B.v"), *of("B.w B.v " * 20))
    rows = [next(iter(one.adapters)) for one in lines.take(64)]
    assert (rows.count("A.x"), rows.count("A.y"), rows.count("A.z")) == (3, 2, 1)
    assert len(rows) == 12


def test_a_team_that_waits_alone_just_after_others_begins_with_as_few_rows() -> None:
    lines = waiting(*of("A.v A.w A.x A.y " * 80), *of("B.v"))
    assert [len(lines.take(64)) for _ in range(4)] == [FEW_ROWS, FEW_ROWS, 2 * FEW_ROWS, 4 * FEW_ROWS]


def test_a_later_team_waits_behind_those_that_wait_already() -> None:
    lines = waiting(*of("A.v B.v A.v B.v"))
    lines.take(1)
    for one in of("C.v"):
        lines.add(one)
    assert turns(lines, 1) == [["B.v"], ["A.v"], ["C.v"], ["B.v"]]


def test_turns_are_the_first_of_each_team_then_the_second() -> None:
    lines = waiting(*of("A.x A.x A.y B.v C.v C.w"))
    assert ["+".join(one.adapters) for one in lines.in_fair_order()] == ["A.x", "B.v", "C.v", "A.y", "C.w", "A.x"]


def test_a_team_that_is_passed_over_waits_and_keeps_its_turn() -> None:
    lines = waiting(*of("A.v B.v A.v"))
    assert [one.team for one in lines.take(64, passed_over={"A"})] == ["B"]
    assert lines.take(64, passed_over={"A"}) == ()
    assert [one.team for one in lines.take(64)] == ["A", "A"]


class Shortening:
    """Forwards that begin while several teams wait have at most two rows. `asked` are the jobs that began one."""

    def __init__(self) -> None:
        self.asked: list[Job] = []

    def __call__(self, first: Job, max_rows: int) -> tuple[Sequence[Job], int, int]:
        self.asked.append(first)
        size = min(first.size, 2)
        parts = [job(*first.adapters, rows=size, team=first.team) for _ in range(first.size // size)]
        return parts, min(max_rows, 2), 1


def shortened(text: str, rows: int) -> tuple[FairQueue, Shortening]:
    shortening = Shortening()
    lines = FairQueue(shortening)
    for name in text.split():
        lines.add(job(name, rows=rows, team=name.partition(".")[0]))
    return lines, shortening


def test_only_while_several_teams_wait_a_forward_is_shorter() -> None:
    lines, shortening = shortened("A.x A.y A.z B.v", 1)
    assert turns(lines, 64) == [["A.x", "B.v"], ["A.y", "A.z"]]
    assert len(shortening.asked) == 1


def test_a_large_request_is_cut_for_the_others_and_its_rest_waits_in_its_place() -> None:
    lines, _ = shortened("A.x B.v", 4)
    sizes = [[(one.team, one.size) for one in lines.take(64)] for _ in range(4)]
    assert sizes == [[("A", 2)], [("B", 2)], [("A", 2)], [("B", 2)]]
    assert not lines


def test_a_team_whose_texts_are_being_written_waits_for_the_forward_too() -> None:
    lines, shortening = shortened("A.x A.y A.z", 1)
    assert len(lines.take(64, beside={"A"})) == 3
    lines, shortening = shortened("A.x A.y A.z", 1)
    assert len(lines.take(64, beside={"B"})) == 2
    assert len(shortening.asked) == 1


@pytest.mark.parametrize("greedy", [10, 1000])
@pytest.mark.parametrize("adapters", [1, 40])
def test_a_busier_team_leaves_the_other_ones_waits_bounded(greedy: int, adapters: int) -> None:
    numbers = count()

    def ask() -> Job:
        return job(f"A.{next(numbers) % adapters}", team="A")

    lines = waiting(*(ask() for _ in range(greedy)))
    lines.add(job("B.v", team="B"))
    now, asked_at, waits = 0, 0, list[int]()
    for _ in range(50):
        batch = lines.take(64)
        now += len(batch)
        for one in batch:
            lines.add(ask() if one.team == "A" else job("B.v", team="B"))
            if one.team == "B":
                waits.append(now - asked_at)
                asked_at = now
    assert len(waits) == 50
    assert max(waits) <= FEW_ROWS


def test_the_kinds_of_one_team_do_not_cap_another_that_they_share_nothing_with() -> None:
    other = BatchKey("rows of 5")
    lines = waiting(*(job("A.x", team="A") for _ in range(8)), *(job("B.v", team="B", batch_key=other) for _ in "ab"))
    assert [one.team for one in lines.take(64)] == ["A"] * 8
    assert [one.team for one in lines.take(64)] == ["B"] * 2
