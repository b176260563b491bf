import threading
import weakref
from datetime import UTC, datetime

import psutil
import pytest
import torch
from engines import LORA, RANDOM_LORA, TIMEOUT_S, Running, Start, eventually
from gated import Gate

from models_registry.errors import Conflict, Invalid, NoRoom, NotFound, WithoutEffect
from service.front.requests import NewAdapter
from service.host import model_host
from service.protocol.types import HostLimits

ONE = 184  # bytes of `RANDOM_LORA` on the tiny MLPs: 46 float32 numbers
WIDE, RANK = 1024, 16384  # large beside what else a long run of tests takes and gives back at that moment
WIDE_LORA = {"peft_type": "LORA", "r": RANK, "target_modules": ["linear"]}


def resident(running: Running) -> tuple[str, ...]:
    return running.engine.models.find("m").resident


def test_the_least_recently_used_adapter_makes_room(start: Start) -> None:
    running = start(HostLimits("cpu", max_resident_bytes=2 * ONE))
    running.host()
    running.create("a")
    running.create("b")
    running.answer("a")
    running.create("c")
    assert resident(running) == ("a@1", "c@1")
    assert running.tier("b") == "stored"
    running.answer("b")
    assert resident(running) == ("c@1", "b@1")


def test_an_evicted_adapter_answers_as_before(start: Start) -> None:
    running = start(HostLimits("cpu", max_resident_bytes=ONE))
    running.host()
    running.create("a", seed=1)
    running.create("b", seed=2)
    a, b = running.output("a"), running.output("b")
    for _ in range(3):
        assert running.output("a").equal(a)
        assert running.output("b").equal(b)
        assert len(resident(running)) == 1


def test_what_a_request_holds_is_not_evicted_and_what_does_not_fit_beside_it_stays_stored(
    start: Start, gate: Gate
) -> None:
    running = start(HostLimits("cpu", max_resident_bytes=ONE))
    running.host("m", "gated:mlp", gate=gate.name)
    running.create("a")
    gate.shut()
    runs = running.ask("a")
    gate.wait_for_arrival()
    created = running.create("b")
    assert any("don't fit" in warning for warning in created.warnings)
    assert resident(running) == ("a@1",)
    gate.open()
    assert runs.result(TIMEOUT_S).adapter == ("a@1",) * 3
    running.answer("b")
    assert resident(running) == ("b@1",)


def test_one_request_that_needs_more_than_fits_is_told_so_and_keeps_nobody_waiting(start: Start) -> None:
    running = start(HostLimits("cpu", max_resident_bytes=2 * ONE))
    running.host()
    for name in "abc":
        running.create(name)
    with pytest.raises(NoRoom, match=f"{3 * ONE} bytes.*{2 * ONE}"):
        running.answer(("a", "b", "c"))
    assert running.answer(("a", "b", "a")).adapter == ("a@1", "b@1", "a@1")
    assert running.engine.adapters.find("c").in_flight == 0


def test_an_adapter_that_can_never_fit_says_which_setting_to_raise(start: Start) -> None:
    running = start(HostLimits("cpu", max_resident_bytes=ONE - 1))
    running.host()
    running.create("a")
    with pytest.raises(NoRoom, match="MAX_RESIDENT_BYTES"):
        running.answer("a")
    assert running.engine.adapters.find("a").in_flight == 0


def test_unloading_and_loading_an_adapter(running: Running) -> None:
    running.host()
    running.create("a")
    assert running.engine.adapters.unload("m", "a")[1]
    assert resident(running) == ()
    assert running.engine.adapters.load("m", "a@1").residency[1].tier == "resident"
    with pytest.raises(NotFound):
        running.engine.adapters.load("m", "b")
    running.host("other")
    with pytest.raises(NotFound, match="belongs to model 'm'"):
        running.engine.adapters.load("other", "a")
    running.engine.models.unload("m")
    with pytest.raises(Conflict):
        running.engine.adapters.load("m", "a")
    assert running.engine.adapters.unload("m", "a")[1]


def test_an_adapter_that_requests_hold_is_unloaded_when_they_are_done(running: Running, gate: Gate) -> None:
    running.host("m", "gated:mlp", gate=gate.name)
    running.create("a")
    gate.shut()
    runs = running.ask("a")
    gate.wait_for_arrival()
    unloading = threading.Thread(target=running.engine.adapters.unload, args=["m", "a"])
    unloading.start()
    assert running.tier("a") == "resident"
    gate.open()
    assert runs.result(TIMEOUT_S).adapter == ("a@1",) * 3
    unloading.join(TIMEOUT_S)
    eventually(lambda: running.tier("a") == "stored")


def test_what_is_pinned_is_never_evicted_until_it_is_unloaded(start: Start) -> None:
    running = start(HostLimits("cpu", max_resident_bytes=2 * ONE))
    running.host()
    for name in "abcd":
        running.create(name)
    running.engine.adapters.load("m", "a", pin=True)
    for name in "bcdbcd":
        running.answer(name)
    status = running.engine.adapters.find("a").residency[1]
    assert (status.tier, status.pinned) == ("resident", True)
    running.engine.adapters.unload("m", "a")
    assert not running.engine.adapters.find("a").residency[1].pinned
    assert running.tier("a") == "stored"


def test_a_pin_that_does_not_fit_beside_others_is_refused_and_changes_nothing(start: Start) -> None:
    running = start(HostLimits("cpu", max_resident_bytes=2 * ONE))
    running.host()
    for name in "abc":
        running.create(name)
    running.engine.adapters.load("m", "a", pin=True)
    running.engine.adapters.load("m", "b", pin=True)
    before = resident(running)
    with pytest.raises(NoRoom, match="pinned"):
        running.engine.adapters.load("m", "c", pin=True)
    assert resident(running) == before
    assert running.tier("c") == "stored"
    with pytest.raises(NoRoom, match="pinned"):
        running.answer("c")
    assert running.answer(("a", "b", None)).adapter == ("a@1", "b@1", None)


def test_the_status_says_what_a_version_takes_and_when_it_was_used_and_loaded(running: Running) -> None:
    running.host()
    running.create("a")
    made = running.engine.adapters.find("a").residency[1]
    assert (made.tier, made.bytes, made.last_used_at, made.load_s) == ("resident", ONE, None, None)
    before = datetime.now(UTC)
    running.answer("a")
    used = running.engine.adapters.find("a").residency[1].last_used_at
    assert used is not None
    assert before <= used <= datetime.now(UTC)
    running.engine.adapters.unload("m", "a")
    left = running.engine.adapters.find("a").residency[1]
    assert (left.tier, left.bytes, left.last_used_at) == ("stored", 0, used)
    running.engine.adapters.load("m", "a")
    loaded = running.engine.adapters.find("a").residency[1]
    assert loaded.load_s is not None
    assert loaded.load_s > 0


def test_unloading_never_waits_for_a_forward(running: Running, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    running.host("m", "gated:mlp", gate=gate.name)
    running.create("a")
    gate.shut()
    runs = running.ask()
    gate.wait_for_arrival()
    with monkeypatch.context() as patch:
        patch.setattr(model_host, "PATIENCE_S", 0.05)
        _, freed = running.engine.adapters.unload("m", "a")  # nobody uses it, but the model's thread is in a forward
    assert not freed
    assert running.tier("a") == "resident"
    gate.open()
    runs.result(TIMEOUT_S)
    eventually(lambda: running.tier("a") == "stored")
    assert running.engine.adapters.unload("m", "a")[1]


def test_creating_never_waits_for_a_forward(running: Running, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_host, "PATIENCE_S", 0.05)
    running.host("m", "gated:mlp", gate=gate.name)
    gate.shut()
    runs = running.ask()
    gate.wait_for_arrival()
    assert any("busy" in warning for warning in running.create("a").warnings)
    gate.open()
    runs.result(TIMEOUT_S)
    assert running.answer("a").adapter == ("a@1",) * 3


def test_garbage_is_refused_without_the_models_thread(running: Running, gate: Gate) -> None:
    running.host("m", "gated:mlp", gate=gate.name)
    gate.shut()
    runs = running.ask()
    gate.wait_for_arrival()
    for number in range(100):
        with pytest.raises(Invalid):
            running.engine.adapters.create(NewAdapter("m", f"bad{number}", LORA, b"\x08" * 64))
    gate.open()
    assert runs.result(TIMEOUT_S).outputs


def test_unloading_gives_the_memory_back(running: Running) -> None:
    running.host("m", "bases:wide", width=WIDE)
    process = psutil.Process()
    running.create("a", WIDE_LORA)
    due = running.engine.adapters.find("a").residency[1].bytes
    assert due == 4 * 2 * WIDE * RANK
    before = process.memory_info().rss
    _, freed = running.engine.adapters.unload("m", "a")
    assert freed
    eventually(lambda: before - process.memory_info().rss > 0.9 * due)
    after = process.memory_info().rss
    running.answer("a", torch.ones(1, WIDE))
    eventually(lambda: process.memory_info().rss - after > 0.9 * due)


def test_after_unloading_nothing_refers_to_its_tensors(running: Running) -> None:
    running.host()
    running.create("a")
    running.answer(("a", None, "a"))
    adapted = running.live().adapted
    (prepared,) = adapted._attached.values()  # pyright: ignore[reportPrivateUsage] - the tensors
    tensors = [weakref.ref(tensor) for folded in prepared.layers.values() for tensor in folded.tensors]
    assert tensors
    del prepared
    assert running.engine.adapters.unload("m", "a")[1]
    assert not any(tensor() is not None for tensor in tensors)


def test_a_removed_adapter_leaves_nothing_behind(running: Running) -> None:
    running.host("m", "gated:detour")
    running.create("a", {**RANDOM_LORA, "target_modules": ["unused"]})
    with pytest.raises(WithoutEffect):
        running.answer("a")
    live = running.live()
    assert live.adapted.inactive
    running.engine.adapters.load("m", "a", pin=True)
    running.engine.adapters.remove("a")
    running.engine.catch_up()
    eventually(lambda: not live.adapted.inactive and not live.adapted.adapters)
    eventually(lambda: live.cache.taken == 0)
