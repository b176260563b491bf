"""What an operator watches of a model, as things happen to it."""

import time

import pytest
from engines import ROWS, TIMEOUT_S, Running, Start, eventually
from gated import Gate

from models_registry.errors import DeadlinePassed, Overloaded, RegistryError
from service.protocol.stats import BOUNDS, AdapterStats, HostStats, Sizes, SizeStats
from service.protocol.types import HostLimits


def figures_of(running: Running) -> HostStats:
    figures = running.engine.models.stats()["m"].hosted
    assert figures is not None
    return figures


def adapters_of(running: Running) -> AdapterStats:
    return figures_of(running).adapters


def counted(*sizes: int) -> SizeStats:
    expected = Sizes()
    for size in sizes:
        expected.record(size)
    return expected.stats


def test_a_size_counts_at_the_first_bound_that_it_does_not_exceed() -> None:
    sizes = Sizes()
    for size in (0, 1, 3, 4, 5, 10_000):
        sizes.record(size)
    assert sizes.stats.sum == 10_013
    below = dict(zip((*BOUNDS, None), sizes.stats.counts, strict=True))
    assert {bound: count for bound, count in below.items() if count} == {0: 1, 1: 1, 4: 2, 8: 1, None: 1}


def test_a_model_that_is_not_in_memory_has_its_versions_stored(running: Running) -> None:
    running.host()
    running.create("a")
    running.engine.models.unload("m")
    figures = running.engine.models.stats()["m"]
    assert (figures.state, figures.stored, figures.hosted) == ("unloaded", 1, None)


def test_what_waits_and_what_is_refused_and_what_is_late_is_counted(start: Start, gate: Gate) -> None:
    running = start(HostLimits("cpu", max_queue=2))
    running.host(factory="gated:mlp", gate=gate.name)
    gate.shut()
    runs = running.ask()
    gate.wait_for_arrival()
    waits = running.ask()
    late = running.ask(deadline=time.monotonic() + 0.01)
    with pytest.raises(DeadlinePassed):
        late.result(TIMEOUT_S)
    more = running.ask()
    eventually(lambda: figures_of(running).queue.rows == 2 * len(ROWS))
    with pytest.raises(Overloaded):
        running.answer()
    queue = figures_of(running).queue
    assert (queue.requests, queue.refused) == (2, 1)
    gate.open()
    for one in (runs, waits, more):
        one.result(TIMEOUT_S)
    queue = figures_of(running).queue
    assert (queue.requests, queue.rows, queue.refused) == (0, 0, 1)
    assert running.engine.models.stats()["m"].expired == 1


def test_forwards_are_counted_with_the_rows_and_the_adapters_that_shared_them(running: Running) -> None:
    running.host()
    running.create("a")
    running.create("b")
    running.answer()
    running.answer(("a", None, "b"))
    assert figures_of(running).rows_per_forward == counted(len(ROWS), len(ROWS))
    assert figures_of(running).adapters_per_forward == counted(0, 2)


def test_loads_evictions_and_unloads_of_adapters_are_counted(start: Start) -> None:
    first = start()
    first.host()
    first.create("a")
    size = adapters_of(first).bytes
    first.create("b")
    assert (adapters_of(first).resident, adapters_of(first).loads, adapters_of(first).evictions) == (2, 2, 0)
    first.close()

    running = start(HostLimits("cpu", max_resident_bytes=size))  # room for one
    running.wait_for_model("m")
    for asked in "aba":
        running.answer(asked)
    figures = adapters_of(running)
    assert (figures.loads, figures.evictions, figures.failures) == (3, 2, 0)
    assert (figures.resident, figures.staged, figures.bytes, figures.max_bytes) == (1, 0, size, size)
    assert running.engine.models.stats()["m"].stored == 1

    running.engine.adapters.load("m", "a", pin=True)
    assert adapters_of(running).pinned == 1
    running.engine.adapters.unload("m", "a")
    eventually(lambda: adapters_of(running).resident == 0)
    figures = adapters_of(running)
    assert (figures.evictions, figures.pinned, figures.bytes) == (2, 0, 0)
    assert running.engine.models.stats()["m"].stored == 2


def test_a_failed_load_is_counted(running: Running) -> None:
    running.host()
    running.create("a")
    running.engine.adapters.unload("m", "a")
    eventually(lambda: adapters_of(running).resident == 0)
    for blob in running.blobs.rglob("*"):
        if blob.is_file():
            blob.unlink()
    with pytest.raises(RegistryError):
        running.answer("a")
    assert adapters_of(running).loads == 1
    assert adapters_of(running).failures >= 1  # one that fails before its request waits is tried again
