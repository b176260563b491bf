import gc
import threading
import weakref

import gated
import pytest
import torch
from engines import TIMEOUT_S, Running, Start, eventually
from gated import Gate
from torch import nn

from models_registry.errors import Conflict, Invalid, NotFound, Unavailable
from models_registry.records import PythonSource
from service.front.hosts.times import HostTimes
from service.host import model_host


def test_a_registered_model_is_loading_and_then_ready(running: Running, gate: Gate) -> None:
    gate.shut()
    assert running.begin_hosting("m", "gated:slow", gate=gate.name).state == "loading"
    assert running.engine.models.find("m").state == "loading"
    gate.open()
    status = running.wait_for_model("m")
    assert (status.state, status.dtype, status.device, status.reason) == ("ready", "float32", "cpu", None)
    assert status.base.fingerprint


@pytest.mark.parametrize(
    ("factory", "dtype", "device", "loc"),
    [
        ("os:getcwd", None, None, ("source", "factory")),
        ("bases:mlp", "float33", None, ("dtype",)),
        ("bases:mlp", None, "tpu", ("device",)),
        ("bases:mlp", None, "cuda:99", ("device",)),
    ],
)
def test_a_model_that_can_not_be_is_refused_and_not_registered(
    running: Running, factory: str, dtype: str | None, device: str | None, loc: tuple[str, ...]
) -> None:
    with pytest.raises(Invalid) as caught:
        running.engine.models.register("m", PythonSource(factory), dtype=dtype, device=device)
    assert caught.value.faults[0].loc == loc
    assert running.engine.models.page(10) == ()


def test_a_taken_id_is_a_conflict_and_changes_nothing(running: Running) -> None:
    running.host()
    with pytest.raises(Conflict):
        running.begin_hosting("m", "gated:scaled")
    assert running.output().shape == (3, 3)


def test_a_model_is_built_in_the_dtype_that_was_asked_for(running: Running) -> None:
    running.engine.models.register("m", PythonSource("bases:mlp"), dtype="bfloat16")
    assert running.wait_for_model("m").dtype == "bfloat16"
    assert running.output().dtype == torch.bfloat16


def test_a_failed_build_says_why_and_can_be_tried_again(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    status = running.host("m", "gated:exits")
    assert status.state == "failed"
    assert status.reason is not None
    assert "SystemExit" in status.reason
    assert status.base.failure == status.reason
    assert running.engine.readiness().degraded
    monkeypatch.setattr(gated, "exits", gated.scaled)
    assert running.engine.models.load("m").state == "loading"
    status = running.wait_for_model("m")
    assert (status.state, status.reason, status.base.failure) == ("ready", None, None)


def test_a_failure_in_words_that_nobody_could_store_is_told_and_the_next_model_is_built(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mumble() -> nn.Module:
        raise OSError("no file \udcff\0")

    monkeypatch.setattr(gated, "exits", mumble)
    status = running.host("m", "gated:exits")
    assert status.reason is not None
    assert "OSError: no file \\udcff\\0" in status.reason
    assert status.base.failure == status.reason
    assert running.host("other").state == "ready"


def test_other_weights_under_the_same_id_are_refused(running: Running) -> None:
    assert running.host("m", "gated:other_weights_each_time").state == "ready"
    running.engine.models.unload("m")
    running.engine.models.load("m")
    status = running.wait_for_model("m")
    assert status.state == "failed"
    assert status.reason is not None
    assert "other weights" in status.reason


def test_unloading_frees_the_module_and_keeps_what_is_registered(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[weakref.ref[nn.Module]] = []

    def remembered() -> nn.Module:
        module = gated.wayward("plain")
        built.append(weakref.ref(module))
        return module

    monkeypatch.setattr(gated, "remembered", remembered, raising=False)
    running.host("m", "gated:remembered")
    running.create("a", {"peft_type": "LORA", "r": 2, "target_modules": ["linear"]})
    running.answer("a")
    assert running.engine.models.unload("m").state == "unloaded"
    eventually(lambda: gc.collect() >= 0 and built[0]() is None)  # a thread that has handed it on may still hold it
    assert "model m" not in {thread.name for thread in threading.enumerate()}
    assert running.tier("a") == "stored"
    running.engine.models.load("m")
    running.wait_for_model("m")
    assert running.answer("a").adapter == ("a@1",) * 3


def test_unloading_lets_what_is_queued_finish(running: Running, gate: Gate) -> None:
    running.host("m", "gated:mlp", gate=gate.name)
    running.create("a")
    gate.shut()
    runs, waits = running.ask("a"), running.ask("a")
    gate.wait_for_arrival()
    eventually(lambda: running.engine.adapters.find("a").in_flight == 2)
    unloading = threading.Thread(target=running.engine.models.unload, args=["m"])
    unloading.start()
    eventually(lambda: running.engine.models.find("m").state == "unloaded")
    with pytest.raises(Conflict):
        running.answer()
    gate.open()
    assert runs.result(TIMEOUT_S).outputs
    unloading.join(TIMEOUT_S)
    # Where it was unloaded before its inputs were read, it was told so.
    assert isinstance(waits.exception(TIMEOUT_S), Conflict | None)


def test_unloading_while_it_is_built_drops_the_build(running: Running, gate: Gate) -> None:
    gate.shut()
    running.begin_hosting("m", "gated:slow", gate=gate.name)
    gate.wait_for_arrival()
    assert running.engine.models.unload("m").state == "unloaded"
    gate.open()
    running.host("next")  # the loader builds one after the other, so the first one is done
    assert running.engine.models.find("m").state == "unloaded"
    with pytest.raises(Conflict):
        running.answer()


def test_unloaded_stays_unloaded_over_a_restart_and_the_rest_comes_back(start: Start) -> None:
    before = start()
    before.host("m")
    before.host("asleep")
    before.create("a")
    expected = before.output("a")
    before.engine.models.unload("asleep")
    before.close()
    after = start()
    assert after.wait_for_model("m").state == "ready"
    assert after.engine.models.find("asleep").state == "unloaded"
    assert torch.equal(after.output("a"), expected)


def test_removing_a_model_is_refused_while_it_has_adapters(running: Running) -> None:
    running.host()
    running.create("a")
    with pytest.raises(Conflict, match="a"):
        running.engine.models.remove("m")
    running.answer("a")
    running.engine.models.remove("m", cascade=True)
    with pytest.raises(NotFound):
        running.engine.models.find("m")
    with pytest.raises(NotFound):
        running.engine.adapters.find("a")
    with pytest.raises(NotFound):
        running.answer("a")


def test_the_modules_of_a_model_are_known_from_its_first_build_on(running: Running, gate: Gate) -> None:
    running.host("bad", "bases:broken")
    with pytest.raises(Conflict, match="no weights today"):
        running.engine.models.modules("bad")
    running.host()
    hosted = running.engine.models.modules("m")
    running.engine.models.unload("m")
    assert running.engine.models.modules("m") == hosted
    gate.shut()
    running.begin_hosting("slow", "gated:slow", gate=gate.name)
    with pytest.raises(Unavailable, match="first time"):
        running.engine.models.modules("slow")


def test_an_engine_that_gives_up_answers_at_once_what_runs_and_what_waits(running: Running, gate: Gate) -> None:
    running.host("m", "gated:mlp", gate=gate.name)
    gate.shut()
    runs = running.ask()
    gate.wait_for_arrival()
    waits = running.ask()
    running.engine.give_up()
    for one in (runs, waits, running.ask()):
        with pytest.raises(Unavailable, match="shutting down"):
            one.result(TIMEOUT_S)


def test_an_engine_that_stops_finishes_what_runs_and_refuses_the_rest(start: Start, gate: Gate) -> None:
    before = set(threading.enumerate())
    running = start()
    running.host("m", "gated:mlp", gate=gate.name)
    gate.shut()
    runs = running.ask()
    gate.wait_for_arrival()
    stopping = threading.Thread(target=running.stop)
    stopping.start()
    eventually(lambda: not running.engine.readiness().ready)
    with pytest.raises(Unavailable, match="shutting down"):
        running.answer()
    gate.open()
    stopping.join(TIMEOUT_S)
    assert runs.result(TIMEOUT_S).outputs
    running.close()
    # One that hangs on a disk or a database is waited for a moment, and ends by itself.
    eventually(lambda: {thread.name for thread in set(threading.enumerate()) - before} == set())


def test_requests_that_outlast_the_grace_get_the_services_end(running: Running, gate: Gate) -> None:
    running.host("m", "gated:mlp", gate=gate.name)
    running.create("a")
    gate.shut()
    runs, waits = running.ask("a"), running.ask("a")
    gate.wait_for_arrival()
    eventually(lambda: running.engine.adapters.find("a").in_flight == 2)
    running.stop(grace_s=0.0)
    for asked in (runs, waits):
        with pytest.raises(Unavailable, match="shutting down"):
            asked.result(TIMEOUT_S)


def test_what_is_on_its_way_out_is_given_up_too(running: Running, gate: Gate) -> None:
    base = running.host("m", "gated:mlp", gate=gate.name).base
    gate.shut()
    asked = running.ask()
    gate.wait_for_arrival()
    close = running.hosting.unload(base)
    running.engine.give_up()  # before it could be closed
    with pytest.raises(Unavailable):
        asked.result(TIMEOUT_S)
    gate.open()
    close()


def test_a_model_that_is_forgotten_at_this_moment_holds_up_nobody_who_follows_the_registry(running: Running) -> None:
    running.host()
    running.create("a")
    running.create("b")
    host = running.hosting.find("m").host
    host.close(NotFound("There is no base model 'm'.")).result(TIMEOUT_S)
    running.engine.adapters.remove("a")
    running.registry.remove_adapter("b")
    running.engine.catch_up()
    assert running.engine.models.modules("m").entered is None
    assert running.engine.models.find("m").state == "ready"


def test_an_engine_that_stops_waits_for_no_blob(running: Running, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    running.host()
    running.create("a")
    running.engine.adapters.unload("m", "a")
    monkeypatch.setattr(running.store, "get", lambda digest: gate.pass_through())
    gate.shut()
    asked = running.ask("a")
    gate.wait_for_arrival()
    stopping = threading.Thread(target=running.stop, args=(0.0,))
    stopping.start()
    stopping.join(TIMEOUT_S / 2)
    assert not stopping.is_alive()
    with pytest.raises(Unavailable):  # it comes by way of the event loop, and while the gate is shut
        asked.result(TIMEOUT_S / 2)
    gate.open()


def test_what_a_model_shows_of_itself_is_not_waited_for_for_ever(
    running: Running, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_host, "PROBING_S", 0.01)
    gate.shut()
    source = PythonSource("gated:mlp", {"gate": gate.name})
    running.engine.models.register("m", source, example_inputs={"x": [[1.0, 2.0, 3.0, 4.0]]})
    gate.wait_for_arrival()
    running.wait_for_model("m")
    assert running.engine.models.modules("m").entered is None
    gate.open()
    eventually(lambda: running.engine.models.modules("m").entered is not None)


def test_unloading_ends_a_model_that_is_stuck_in_a_forward(
    running: Running, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running.hosting, "_times", HostTimes(closing_s=0.01))
    running.host("m", "gated:mlp", gate=gate.name)
    gate.shut()
    asked = running.ask()
    gate.wait_for_arrival()
    assert running.engine.models.unload("m").state == "unloaded"
    with pytest.raises(Conflict, match="was unloaded"):
        asked.result(TIMEOUT_S)
    gate.open()
    running.engine.models.load("m")
    assert running.wait_for_model("m").state == "ready"
    assert running.output().shape == (3, 3)
