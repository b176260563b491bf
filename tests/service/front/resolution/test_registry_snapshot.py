import itertools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from databases import sqlite_url, write_migrated
from engines import IA3, TIMEOUT_S, Running
from gated import Gate
from registering import build

from models_registry.errors import NotFound, Unavailable
from models_registry.records import RegistrySnapshot
from models_registry.registry import Registry
from models_registry.storage.blobs import open_blob_store
from models_registry.storage.database import open_database
from service.front.resolution.registry_snapshot import Snapshot, is_there, resolve


def store(registry: Registry, name: str) -> None:
    registry.create_adapter(
        "m", name, method="IA3", config=IA3, weights=name.encode(), parameters=1, targets=["first"], metadata={}
    )


@pytest.fixture
def registry(running: Running) -> Registry:
    running.host()
    return running.registry


@pytest.fixture
def snapshot(registry: Registry) -> Snapshot:
    snapshot = Snapshot(registry)
    snapshot.refresh()
    return snapshot


def test_a_view_stays_what_it_was_until_a_refresh(registry: Registry, snapshot: Snapshot) -> None:
    before = snapshot.view
    store(registry, "a")
    assert snapshot.view is before
    snapshot.refresh()
    assert set(snapshot.view.adapters) == {"a"}
    assert before.adapters == {}
    assert snapshot.view.generation == registry.generation()


def test_a_refresh_for_one_adapter_also_finds_what_others_wrote(registry: Registry, snapshot: Snapshot) -> None:
    store(registry, "theirs")
    store(registry, "ours")
    snapshot.refresh()
    assert set(snapshot.view.adapters) == {"theirs", "ours"}
    registry.remove_adapter("theirs")
    snapshot.refresh()
    assert set(snapshot.view.adapters) == {"ours"}


def test_a_step_by_step_view_is_the_registry_itself(registry: Registry, snapshot: Snapshot) -> None:
    for name in ("a", "b", "c"):
        store(registry, name)
        snapshot.refresh()
    assert snapshot.view == registry.snapshot()


@pytest.fixture
def unwatched(tmp_path: Path) -> Iterator[Registry]:
    """A registry that no engine looks at."""
    write_migrated(tmp_path / "unwatched.db")
    with closing(open_database(sqlite_url(tmp_path / "unwatched.db"))) as database:
        registry = Registry(database, open_blob_store(f"file:{tmp_path}/unwatched"))
        build(registry, "m")
        yield registry


@pytest.mark.parametrize("away", [False, True])
def test_callers_who_ask_during_a_read_are_answered_by_the_next_one(
    unwatched: Registry, gate: Gate, monkeypatch: pytest.MonkeyPatch, away: bool
) -> None:
    snapshot, read = Snapshot(unwatched), unwatched.snapshot
    reads, asked, callers = itertools.count(1), threading.Semaphore(0), 8

    def slowly(since: RegistrySnapshot | None = None) -> RegistrySnapshot:
        gate.pass_through()
        if next(reads) > 1 and away:
            raise Unavailable("away")
        return read(since)

    def told_time() -> float:
        asked.release()
        return time.monotonic()

    monkeypatch.setattr(unwatched, "snapshot", slowly)
    monkeypatch.setattr("service.front.resolution.registry_snapshot.time", SimpleNamespace(monotonic=told_time))
    gate.shut()
    with ThreadPoolExecutor(callers + 1) as pool:
        first = pool.submit(snapshot.refresh)
        gate.wait_for_arrival()
        store(unwatched, "theirs")
        others = [pool.submit(snapshot.refresh) for _ in range(callers)]
        for _ in range(2 + callers):  # the first has looked at the clock twice
            assert asked.acquire(timeout=TIMEOUT_S)
        gate.open()
        first.result()
        errors = [other.exception() for other in others]
    assert next(reads) == 3
    assert [isinstance(error, Unavailable) for error in errors] == [away] * callers
    assert set(snapshot.view.adapters) == {"theirs"}


def test_references_resolve_to_exact_versions(registry: Registry, snapshot: Snapshot) -> None:
    store(registry, "a")
    registry.add_version("a", method="IA3", config=IA3, weights=b"2", parameters=1, targets=["first"], metadata={})
    snapshot.refresh()
    assert resolve(snapshot.view, "a").reference == "a@2"
    assert resolve(snapshot.view, "a@1").reference == "a@1"
    for missing in ("b", "a@3", "a@prod"):
        with pytest.raises(NotFound):
            resolve(snapshot.view, missing)


def test_a_version_that_came_later_under_the_same_reference_is_another_one(
    registry: Registry, snapshot: Snapshot
) -> None:
    store(registry, "a")
    snapshot.refresh()
    old = resolve(snapshot.view, "a@1")
    assert is_there(snapshot.view, old)
    registry.remove_adapter("a")
    store(registry, "a")
    snapshot.refresh()
    again = resolve(snapshot.view, "a@1")
    assert again.reference == old.reference
    assert again.digest == old.digest
    assert not is_there(snapshot.view, old)
