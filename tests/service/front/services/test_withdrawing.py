"""Registrations that failed and were withdrawn: who still waits for one is told why."""

import pytest
from engines import Running

from models_registry.errors import NotFound
from models_registry.records import BaseModel
from service.front.services import models


def withdraw_failed(running: Running) -> BaseModel:
    failed = running.host(factory="bases:broken")
    assert running.engine.models.withdraw(failed)
    return failed.base


def test_a_withdrawn_failure_is_reported_to_waiting_callers(running: Running) -> None:
    verbs = running.engine.models
    base = running.begin_hosting("m", "bases:broken").base
    early = verbs.watch(base)
    failed = running.wait_for_model("m")
    assert verbs.withdraw(failed)
    for told in (early(), verbs.watch(base)()):
        assert (told.state, told.reason) == ("failed", failed.reason)
    with pytest.raises(NotFound):
        verbs.find("m")


def test_only_the_last_withdrawn_failures_are_kept(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "KEPT_FAILURES", 2)
    states = [running.engine.models.watch(base)().state for base in [withdraw_failed(running) for _ in range(3)]]
    assert states == ["loading", "failed", "failed"]


def test_a_failure_is_not_taken_for_that_of_a_later_registration(running: Running) -> None:
    withdraw_failed(running)
    later = running.host()
    assert running.engine.models.watch(later.base)().state == "ready"
