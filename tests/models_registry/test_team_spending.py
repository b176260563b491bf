"""Processes over one database, each with a clock that the test moves: what one spends, the others have no more."""

from datetime import UTC, datetime, timedelta

import pytest
from registering import at_once

from models_registry.registry import Registry
from models_registry.storage.database import Database
from models_registry.team_spending import TeamSpending
from models_registry.teams import TeamLimits, TeamShared, TeamSpent

LIMITS = TeamLimits(requests_per_minute=60, rows_in_flight=10)


class Processes:
    def __init__(self, database: Database) -> None:
        self.now = datetime(2026, 11, 28, tzinfo=UTC)
        self.one, self.other = (TeamSpending(database, lambda: self.now) for _ in range(2))

    def tell(self, process: TeamSpending, requests: float = 0, rows: int = 0, sequences: int = 0) -> TeamShared:
        spent = TeamSpent(LIMITS, requests, rows=rows, sequences=sequences)
        return process.exchange({"fraud": spent})["fraud"]


@pytest.fixture
def processes(database: Database) -> Processes:
    return Processes(database)


def test_what_one_process_spent_the_others_have_no_more(processes: Processes) -> None:
    assert processes.tell(processes.one) == TeamShared(requests_left=60)
    assert processes.tell(processes.one, requests=20).requests_left == 40
    assert processes.tell(processes.other, requests=5).requests_left == 35
    assert processes.tell(processes.one).requests_left == 35


def test_all_processes_together_are_refilled_at_the_one_rate(processes: Processes) -> None:
    processes.tell(processes.one, requests=60)
    processes.tell(processes.other, requests=30)
    processes.now += timedelta(seconds=30)
    assert processes.tell(processes.one).requests_left == pytest.approx(0)
    processes.now += timedelta(seconds=10)
    assert processes.tell(processes.other, requests=4).requests_left == pytest.approx(6)
    processes.now += timedelta(hours=1)
    assert processes.tell(processes.one, requests=-3).requests_left == 60


def test_rows_in_flight_are_the_other_processes_until_these_end_or_die(processes: Processes) -> None:
    processes.tell(processes.one, rows=3, sequences=2)
    assert processes.tell(processes.one, rows=3, sequences=2) == TeamShared(requests_left=60)
    assert processes.tell(processes.other).other_rows == 3
    processes.now += timedelta(seconds=8)
    processes.tell(processes.one, rows=4, sequences=1)
    processes.now += timedelta(seconds=8)
    shared = processes.tell(processes.other, rows=5)
    assert (shared.other_rows, shared.other_sequences) == (4, 1)
    processes.now += timedelta(seconds=8)  # one was not heard of for 16 seconds
    assert processes.tell(processes.other, rows=5).other_rows == 0
    processes.tell(processes.other)
    assert processes.tell(processes.one).other_rows == 0


def test_a_clock_that_is_behind_refills_nothing(processes: Processes) -> None:
    processes.tell(processes.one, requests=60)
    processes.now -= timedelta(seconds=30)
    assert processes.tell(processes.other).requests_left == 0
    processes.tell(processes.other, requests=1)
    processes.now += timedelta(seconds=60)
    assert processes.tell(processes.one).requests_left == pytest.approx(29)


def test_what_many_tell_at_once_is_all_counted(processes: Processes) -> None:
    processes.tell(processes.one, requests=1)
    at_once(8, lambda number: processes.tell((processes.one, processes.other)[number % 2], requests=2))
    assert processes.tell(processes.one).requests_left == 43


def test_no_limit_has_nothing_left_and_no_change_of_the_registry(processes: Processes, registry: Registry) -> None:
    before = registry.generation()
    spent = {"fraud": TeamSpent(TeamLimits(rows_in_flight=1), rows=1), "search": TeamSpent(LIMITS, requests=1)}
    shared = processes.one.exchange(spent)
    assert shared == {"fraud": TeamShared(), "search": TeamShared(requests_left=59)}
    assert registry.generation() == before
