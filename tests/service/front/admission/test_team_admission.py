"""What a team may ask for: taken at admission, and returned whatever ends the request."""

import asyncio
from concurrent.futures import Future

import pytest

from models_registry.errors import DeadlinePassed, Invalid
from models_registry.teams import TeamLimits, TeamShared, TeamSpent
from service.front.admission.demand import Demand
from service.front.admission.over_limit import OverLimit
from service.front.admission.team_admission import Admitted, TeamAdmission
from service.protocol.types import HostAnswer, Used


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def admission(clock: Clock, **limits: int) -> TeamAdmission:
    made = TeamAdmission(clock)
    made.set_limits({"fraud": TeamLimits(**limits)})
    return made


def spend(admission: TeamAdmission, *demands: Demand, team: str = "fraud") -> None:
    for demand in demands:
        with admission.admit(team, demand):
            pass


def answer(admitted: Admitted, *used: Used) -> None:
    """What the host says in the end."""
    future: Future[HostAnswer] = Future()
    admitted.follow(future)
    future.set_result(HostAnswer((), {}, 0, 0, 0, used=used))


def left(admission: TeamAdmission) -> float:
    (rate,) = admission.use_of("fraud").rates
    return rate.left


def test_requests_pass_until_the_bucket_is_empty_and_again_when_it_refills(clock: Clock) -> None:
    teams = admission(clock, requests_per_minute=2)
    spend(teams, Demand(1), Demand(1))
    with pytest.raises(OverLimit, match="`requests_per_minute` is 2, with 0 left; this request needs 1") as refused:
        spend(teams, Demand(1))
    assert refused.value.retry_after_s == 30
    clock.now = 30
    spend(teams, Demand(1))
    with pytest.raises(OverLimit):
        spend(teams, Demand(1))


def test_another_team_notices_nothing(clock: Clock) -> None:
    teams = admission(clock, requests_per_minute=0, rows_in_flight=0, tokens_per_minute=0)
    for _ in range(3):
        spend(teams, Demand(100, 100, 100), team="search")
    assert teams.use_of("search") == TeamAdmission(clock).use_of("search")


def test_every_limit_that_is_reached_is_named(clock: Clock) -> None:
    teams = admission(clock, requests_per_minute=0, tokens_per_minute=5, rows_in_flight=1, sequences_in_flight=1)
    with pytest.raises(OverLimit) as refused:
        spend(teams, Demand(2, 2, 6))
    for name in ("requests_per_minute", "tokens_per_minute", "rows_in_flight", "sequences_in_flight"):
        assert f"`{name}`" in refused.value.detail
    assert teams.use_of("fraud").rows == 0


def test_rows_and_texts_are_in_flight_until_their_request_ends(clock: Clock) -> None:
    teams = admission(clock, rows_in_flight=3, sequences_in_flight=2)
    with teams.admit("fraud", Demand(2, 2)):
        for refused in (Demand(2), Demand(1, 1)):
            with pytest.raises(OverLimit):
                spend(teams, refused)
        spend(teams, Demand(1))
        assert (teams.use_of("fraud").rows, teams.use_of("fraud").sequences) == (2, 2)
        assert teams.in_flight() == {"fraud": (2, 2)}
    assert teams.in_flight() == {}
    spend(teams, Demand(3))


@pytest.mark.parametrize("error", [Invalid("wrong"), asyncio.CancelledError(), DeadlinePassed("late"), ValueError()])
def test_whatever_ends_a_request_returns_its_rows(clock: Clock, error: BaseException) -> None:
    teams = admission(clock, rows_in_flight=3)
    with pytest.raises(type(error)), teams.admit("fraud", Demand(3)):
        raise error
    spend(teams, Demand(3))


def test_tokens_are_corrected_by_what_the_host_counted(clock: Clock) -> None:
    teams = admission(clock, tokens_per_minute=100)
    with teams.admit("fraud", Demand(1, 1, 60)) as admitted:
        assert left(teams) == 40
        answer(admitted, Used(1, prompt_tokens=8, cached_tokens=4, generated_tokens=2), Used(1, prompt_tokens=5))
    assert left(teams) == 85
    with teams.admit("fraud", Demand(1, 1, 5)) as admitted:
        answer(admitted, Used(1, prompt_tokens=95))
    assert left(teams) == -10


def test_a_request_that_fails_costs_no_tokens_and_one_whose_caller_left_does(clock: Clock) -> None:
    teams = admission(clock, tokens_per_minute=100)
    with pytest.raises(Invalid), teams.admit("fraud", Demand(1, 1, 60)):
        raise Invalid("wrong")
    assert left(teams) == 100
    with pytest.raises(asyncio.CancelledError), teams.admit("fraud", Demand(1, 1, 60)):
        raise asyncio.CancelledError
    assert left(teams) == 40


def test_what_the_host_counts_once_its_caller_has_left_is_charged(clock: Clock) -> None:
    teams = admission(clock, tokens_per_minute=100)
    with pytest.raises(asyncio.CancelledError), teams.admit("fraud", Demand(1, 1, 60)) as admitted:
        raise asyncio.CancelledError
    assert left(teams) == 40
    answer(admitted, Used(1, prompt_tokens=5, generated_tokens=2))
    assert left(teams) == 93


def test_limits_that_change_are_in_force_at_once_while_requests_run(clock: Clock) -> None:
    teams = admission(clock, rows_in_flight=1)
    with teams.admit("fraud", Demand(1)):
        teams.set_limits({})
        spend(teams, Demand(5))
        teams.set_limits({"fraud": TeamLimits(rows_in_flight=2)})
        with pytest.raises(OverLimit):
            spend(teams, Demand(2))
        spend(teams, Demand(1))


def test_what_other_processes_have_in_flight_and_spent_counts(clock: Clock) -> None:
    teams = admission(clock, requests_per_minute=10, rows_in_flight=4)
    spend(teams, Demand(1))
    limits = teams.limits_of("fraud")
    assert teams.report() == {"fraud": TeamSpent(limits, requests=1)}
    teams.follow({"fraud": TeamShared(requests_left=3, other_rows=3)})
    with pytest.raises(OverLimit, match="`rows_in_flight` is 4, with 1 left"):
        spend(teams, Demand(2))
    assert left(teams) == 3
    spend(teams, Demand(1))
    reported = teams.report()
    teams.unreport(reported)
    assert teams.report() == reported == {"fraud": TeamSpent(limits, requests=1)}
    spend(teams, Demand(4))
