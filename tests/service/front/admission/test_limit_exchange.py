"""Two processes' admissions over one database, whose exchanges the test makes itself."""

from datetime import UTC, datetime

import pytest

from models_registry.errors import Unavailable
from models_registry.storage.database import Database
from models_registry.team_spending import TeamSpending
from models_registry.teams import TeamLimits
from service.front.admission.demand import Demand
from service.front.admission.limit_exchange import LimitExchange
from service.front.admission.over_limit import OverLimit
from service.front.admission.team_admission import TeamAdmission

MOMENT = datetime(2026, 11, 28, tzinfo=UTC)
LIMITS = TeamLimits(requests_per_minute=4, rows_in_flight=5)


class Process:
    def __init__(self, database: Database) -> None:
        self.admission = TeamAdmission(lambda: 0.0)
        self.admission.set_limits({"fraud": LIMITS})
        self.spending = TeamSpending(database, lambda: MOMENT)
        self._exchange = LimitExchange(self.spending, self.admission)

    def exchange(self) -> None:
        self._exchange.exchange()

    def ask(self, rows: int = 1) -> bool:
        """Whether it passed."""
        try:
            with self.admission.admit("fraud", Demand(rows)):
                return True
        except OverLimit:
            return False


@pytest.fixture
def processes(database: Database) -> tuple[Process, Process]:
    return Process(database), Process(database)


def test_what_one_let_pass_the_other_refuses_after_an_exchange(processes: tuple[Process, Process]) -> None:
    one, other = processes
    assert [one.ask() for _ in range(5)] == [True] * 4 + [False]
    one.exchange()
    other.exchange()
    assert not other.ask()


def test_what_one_has_in_flight_the_other_has_not(processes: tuple[Process, Process]) -> None:
    one, other = processes
    with one.admission.admit("fraud", Demand(3)):
        one.exchange()
        other.exchange()
        assert not other.ask(rows=3)
        assert other.ask(rows=2)
        assert other.admission.use_of("fraud").rows == 3
    one.exchange()
    other.exchange()
    assert other.ask(rows=5)


def test_a_failed_report_is_repeated_later(processes: tuple[Process, Process], monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = processes
    assert one.ask()

    def fail(_: object) -> None:
        raise Unavailable("The database is away.")

    with monkeypatch.context() as away:
        away.setattr(one.spending, "exchange", fail)
        one.exchange()
    assert one.ask()
    one.exchange()
    other.exchange()
    (rate,) = other.admission.use_of("fraud").rates
    assert rate.left == 2


def test_nothing_is_asked_where_no_team_has_limits(
    processes: tuple[Process, Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = processes
    one.admission.set_limits({})
    monkeypatch.setattr(one.spending, "exchange", None)
    one.exchange()
