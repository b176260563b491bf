"""Adapters that are being read: once for all who wait, and beside unloads, deletions and other requests."""

from collections.abc import Collection

import pytest
from engines import TIMEOUT_S, Running, eventually
from gated import Gate, gate_named

from models_registry.errors import Conflict


class Reading:
    """Blobs that hosts read past a gate, and counted. `gated` are the digests of those; None: all."""

    def __init__(self, running: Running, gate: Gate) -> None:
        self._read = running.store.get
        self._gate = gate
        self.count = 0
        self.gated: Collection[str] | None = None

    def __call__(self, digest: str) -> bytes:
        self.count += 1
        if self.gated is None or digest in self.gated:
            self._gate.pass_through()
        return self._read(digest)


@pytest.fixture
def reading(running: Running, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> Reading:
    reading = Reading(running, gate)
    monkeypatch.setattr(running.store, "get", reading)
    return reading


def test_many_who_want_the_same_adapter_read_it_once(running: Running, reading: Reading, gate: Gate) -> None:
    running.host()
    running.create("a")
    running.engine.adapters.unload("m", "a")
    before = reading.count
    gate.shut()
    asked = [running.ask("a") for _ in range(8)]
    eventually(lambda: running.engine.adapters.find("a").in_flight == 8)
    gate.wait_for_arrival()
    assert running.answer().adapter == (None,) * 3  # nobody else waits for the blob store
    gate.open()
    assert {one.result(TIMEOUT_S).adapter for one in asked} == {("a@1",) * 3}
    assert reading.count == before + 1


def test_who_leaves_while_an_adapter_is_read_does_not_take_it_from_the_others(
    running: Running, reading: Reading, gate: Gate
) -> None:
    running.host()
    running.create("a")
    running.engine.adapters.unload("m", "a")
    gate.shut()
    leaves = running.ask("a")
    gate.wait_for_arrival()
    stays = running.ask("a")
    eventually(lambda: running.engine.adapters.find("a").in_flight == 2)
    leaves.cancel()
    eventually(lambda: running.engine.adapters.find("a").in_flight == 1)
    gate.open()
    assert stays.result(TIMEOUT_S).adapter == ("a@1",) * 3


def test_an_adapter_that_nobody_waits_for_any_more_is_not_kept(running: Running, reading: Reading, gate: Gate) -> None:
    running.host()
    running.create("a")
    running.engine.adapters.unload("m", "a")
    gate.shut()
    leaves = running.ask("a")
    gate.wait_for_arrival()
    leaves.cancel()
    eventually(lambda: running.engine.adapters.find("a").in_flight == 0)
    gate.open()
    running.create("b")
    assert running.tier("a") == "stored"
    assert running.answer("a").adapter == ("a@1",) * 3


def test_a_deletion_while_the_adapter_is_read_is_a_conflict(running: Running, reading: Reading, gate: Gate) -> None:
    running.host()
    running.create("a")
    running.engine.adapters.unload("m", "a")
    gate.shut()
    asked = running.ask("a")
    gate.wait_for_arrival()
    with pytest.raises(Conflict, match="in use"):
        running.engine.adapters.remove("a")
    gate.open()
    assert asked.result(TIMEOUT_S).adapter == ("a@1",) * 3


def test_the_model_unloaded_while_an_adapter_is_read_is_said_to_who_waits(
    running: Running, reading: Reading, gate: Gate
) -> None:
    running.host()
    running.create("a")
    running.engine.adapters.unload("m", "a")
    gate.shut()
    asked = running.ask("a")
    gate.wait_for_arrival()
    running.engine.models.unload("m")
    gate.open()
    with pytest.raises(Conflict, match="was unloaded"):
        asked.result(TIMEOUT_S)


def test_the_first_request_has_its_adapter_fetched_while_its_inputs_are_read(
    running: Running, reading: Reading, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    running.host()
    running.create("a")
    running.engine.adapters.unload("m", "a")
    spec = running.live().reader._policy.spec  # pyright: ignore[reportPrivateUsage] - to slow its reading
    inputs = gate_named("inputs")
    read = spec.read
    monkeypatch.setattr(spec, "read", lambda *a: (inputs.pass_through(), read(*a))[1])
    gate.shut()
    inputs.shut()
    asked = running.ask("a")
    inputs.wait_for_arrival()
    gate.wait_for_arrival()  # the blob is read though the inputs aren't yet
    gate.open()
    eventually(lambda: running.tier("a") == "staged")
    inputs.open()
    assert asked.result(TIMEOUT_S).adapter == ("a@1",) * 3


def test_blobs_that_come_slowly_hold_up_nobody_else(running: Running, reading: Reading, gate: Gate) -> None:
    running.host()
    names = [f"slow{n}" for n in range(40)]
    digests = [running.create(name).version.digest for name in names]
    running.create("good", seed=1)
    for name in (*names, "good"):
        running.engine.adapters.unload("m", name)
    gate.shut()
    slow = [running.ask(name) for name in names]
    for _ in names:
        gate.wait_for_arrival()
    reading.gated = digests
    assert running.answer("good").adapter == ("good@1",) * 3
    assert running.answer().adapter == (None,) * 3
    gate.open()
    assert all(one.result(TIMEOUT_S).adapter for one in slow)
