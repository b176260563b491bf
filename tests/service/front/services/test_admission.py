"""What a team has in flight while its requests wait, run, die with their host, or lose their caller."""

from concurrent.futures import CancelledError

import pytest
from engines import ROWS, TIMEOUT_S, Running, eventually
from gated import Gate

from models_registry.errors import DeadlinePassed
from models_registry.records import DEFAULT_TEAM
from models_registry.teams import TeamLimits
from service.front.admission.over_limit import OverLimit


def in_flight(running: Running) -> int:
    return running.engine.admission.teams.use_of(DEFAULT_TEAM).rows


@pytest.fixture
def limited(running: Running, gate: Gate) -> Running:
    running.host("m", "gated:mlp", gate=gate.name)
    running.engine.admission.teams.set_limits({DEFAULT_TEAM: TeamLimits(rows_in_flight=len(ROWS))})
    return running


def test_rows_that_run_leave_no_room_for_others_until_they_are_answered(limited: Running, gate: Gate) -> None:
    gate.shut()
    asked = limited.ask()
    gate.wait_for_arrival()
    assert in_flight(limited) == len(ROWS)
    with pytest.raises(OverLimit, match="`rows_in_flight` is 3, with 0 left"):
        limited.answer()
    gate.open()
    asked.result(TIMEOUT_S)
    limited.answer()
    assert in_flight(limited) == 0


def test_rows_of_a_caller_who_left_are_returned(limited: Running, gate: Gate) -> None:
    gate.shut()
    asked = limited.ask()
    gate.wait_for_arrival()
    asked.cancel()
    with pytest.raises(CancelledError):
        asked.result(TIMEOUT_S)
    eventually(lambda: in_flight(limited) == 0)


def test_rows_of_a_request_that_is_late_are_returned(limited: Running, gate: Gate) -> None:
    gate.shut()
    with pytest.raises(DeadlinePassed):
        limited.answer(deadline=0.0)
    assert in_flight(limited) == 0
