"""Two engines on one registry, as two processes have it: what one does, the other sees and follows."""

import logging
import threading
from contextlib import closing
from pathlib import Path
from threading import Semaphore
from typing import Any

import gated
import pytest
import torch
from databases import Postgres
from engines import LORA, TIMEOUT_S, Running, Start, eventually, lora_weights
from gated import Gate
from sqlalchemy import event
from sqlalchemy.engine import Engine as SqlEngine
from torch import nn

from models_registry.errors import Conflict, NotFound
from models_registry.records import PythonSource
from service.front.requests import NewVersion
from service.front.resolution import registry_poller as watcher
from service.front.resolution.registry_snapshot import Snapshot


@pytest.fixture
def here(start: Start) -> Running:
    here = start()
    here.host()
    return here


@pytest.fixture
def there(here: Running, start: Start) -> Running:
    there = start()
    there.wait_for_model("m")
    return there


def state_of(running: Running, model: str = "m") -> str:
    return running.engine.models.find(model).state


def test_changes_are_looked_for_often_enough_for_two_seconds() -> None:
    assert watcher.PERIOD_S <= 0.5


def test_an_adapter_that_another_process_made_answers_here(here: Running, there: Running) -> None:
    there.create("a")
    eventually(lambda: here.engine.generation == there.engine.generation)
    assert torch.equal(here.output("a"), there.output("a"))


def test_a_new_version_is_the_newest_everywhere(here: Running, there: Running) -> None:
    there.create("a", LORA)
    here.engine.catch_up()
    assert here.answer("a").adapter == ("a@1",) * 3
    there.engine.adapters.add_version("a", NewVersion(lora_weights()))
    here.engine.catch_up()
    assert here.answer("a").adapter == ("a@2",) * 3


def test_an_adapter_that_another_process_removed_leaves_memory(here: Running, there: Running) -> None:
    here.create("a")
    here.create("stays")
    there.engine.catch_up()
    there.engine.adapters.remove("a")
    here.engine.catch_up()
    with pytest.raises(NotFound):
        here.answer("a")
    eventually(lambda: here.engine.models.find("m").resident == ("stays@1",))


def test_a_removed_adapter_stays_with_the_requests_that_hold_it(here: Running, there: Running, gate: Gate) -> None:
    here.host("gated", "gated:mlp", gate=gate.name)
    here.create("a", model="gated")
    expected = here.output("a", model="gated")
    gate.shut()
    asked = here.ask("a", model="gated")
    gate.wait_for_arrival()
    there.engine.catch_up()
    there.engine.adapters.remove("a")
    here.engine.catch_up()
    gate.open()
    assert torch.equal(torch.as_tensor(asked.result(TIMEOUT_S).outputs["output"]), expected)
    eventually(lambda: here.engine.models.find("gated").resident == ())


def test_an_adapter_that_came_back_under_its_name_is_the_new_one(here: Running, there: Running) -> None:
    here.create("a", seed=1)
    before = here.output("a")
    there.engine.catch_up()
    there.engine.adapters.remove("a")
    there.create("a", seed=2)
    here.engine.catch_up()
    assert torch.equal(here.output("a"), there.output("a"))
    assert not torch.equal(here.output("a"), before)


def test_models_are_registered_unloaded_loaded_and_removed_everywhere(here: Running, there: Running) -> None:
    there.host("n")
    eventually(lambda: state_of(here, "n") == "ready")
    assert torch.equal(here.output(model="n"), there.output(model="n"))
    there.engine.models.unload("n")
    eventually(lambda: state_of(here, "n") == "unloaded")
    with pytest.raises(Conflict, match="not in memory"):
        here.answer(model="n")
    there.engine.models.load("n")
    eventually(lambda: state_of(here, "n") == "ready")
    there.engine.models.remove("n")
    here.engine.catch_up()
    with pytest.raises(NotFound):
        here.answer(model="n")
    eventually(lambda: "model n" not in {thread.name for thread in threading.enumerate()})


def test_a_model_that_came_back_under_its_id_is_the_new_one(here: Running, there: Running) -> None:
    there.engine.models.remove("m")
    there.host("m", "bases:mlp", seed=7)
    here.engine.catch_up()
    here.wait_for_model("m")
    assert torch.equal(here.output(), there.output())


def test_unloading_elsewhere_lets_requests_finish_and_does_not_wait_for_them(
    here: Running, there: Running, gate: Gate
) -> None:
    here.host("gated", "gated:mlp", gate=gate.name)
    gate.shut()
    asked = here.ask(model="gated")
    gate.wait_for_arrival()
    there.engine.models.unload("gated")
    here.engine.catch_up()  # returns, though the request runs
    assert state_of(here, "gated") == "unloaded"
    gate.open()
    assert asked.result(TIMEOUT_S).outputs


def test_a_model_that_is_removed_elsewhere_while_it_is_built_here_is_forgotten(
    here: Running, there: Running, gate: Gate
) -> None:
    gate.shut()
    here.begin_hosting("slow", "gated:slow", gate=gate.name)
    gate.wait_for_arrival()
    there.engine.models.remove("slow")
    gate.open()
    here.engine.catch_up()
    here.host("next")  # the loader builds one after the other, so the first one is done
    assert not here.engine.readiness().degraded
    with pytest.raises(NotFound):
        here.answer(model="slow")


def test_a_failure_here_is_tried_again_only_once_it_was_built_elsewhere(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    builds: list[str] = []

    def fails() -> nn.Module:
        builds.append(threading.current_thread().name)
        raise RuntimeError("not today")

    monkeypatch.setattr(gated, "exits", fails)
    here = start()
    assert here.host("m", "gated:exits").state == "failed"
    there = start()
    assert there.wait_for_model("m").state == "failed"
    there.host("next")
    here.engine.catch_up()
    here.wait_for_model("next")  # the loader builds in the order of the ids
    assert (state_of(here), len(builds)) == ("failed", 2)

    monkeypatch.setattr(gated, "exits", gated.scaled)
    there.engine.models.load("m")
    assert there.wait_for_model("m").state == "ready"
    here.engine.catch_up()
    assert here.wait_for_model("m").state == "ready"


def test_a_look_at_a_registry_that_did_not_change_is_one_statement(here: Running) -> None:
    me, statements = threading.current_thread(), list[str]()

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        if threading.current_thread() is me and statement != "BEGIN":
            statements.append(statement)

    here.engine.catch_up()
    event.listen(SqlEngine, "before_cursor_execute", note)
    try:
        here.engine.catch_up()
    finally:
        event.remove(SqlEngine, "before_cursor_execute", note)
    assert len(statements) == 1, statements
    assert "generation" in statements[0]


def test_an_away_database_is_logged_once_while_resident_adapters_answer(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looks = Semaphore(0)
    refresh = Snapshot.refresh

    def counted(snapshot: Snapshot) -> None:
        try:
            refresh(snapshot)
        finally:
            looks.release()

    with postgres.migrated_database() as url, closing(Running(tmp_path, database_url=url)) as here:
        here.host()
        here.create("a")
        expected = here.output("a")
        monkeypatch.setattr(Snapshot, "refresh", counted)
        caplog.set_level(logging.INFO, "service.front.resolution.registry_poller")
        with postgres.away(url):
            eventually(lambda: "isn't seen" in caplog.text)
            while looks.acquire(blocking=False):
                pass
            for _ in range(3):
                assert looks.acquire(timeout=TIMEOUT_S)
            assert torch.equal(here.output("a"), expected)
            readiness = here.engine.readiness()
            assert not readiness.ready
            assert "database is away" in readiness.reasons[0]
        eventually(lambda: "seen again" in caplog.text)
        assert caplog.text.count("isn't seen") == 1
        assert here.engine.readiness().ready


def test_a_build_of_a_model_that_was_removed_says_nothing_of_the_one_that_has_its_id_now(
    here: Running, there: Running, gate: Gate
) -> None:
    gate.shut()
    here.begin_hosting("again", "gated:slow", gate=gate.name)
    gate.wait_for_arrival()
    there.engine.models.remove("again")
    there.registry.register_base_model("again", PythonSource("bases:mlp", {"seed": 7}))
    gate.open()
    here.host("next")  # the loader builds one after the other, so the first one's build is done
    here.engine.catch_up()
    there.engine.catch_up()
    for running in (here, there):
        assert running.wait_for_model("again").state == "ready"
        assert running.wait_for_model("again").base.failure is None
    assert torch.equal(here.output(model="again"), there.output(model="again"))
