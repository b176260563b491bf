import pytest
from engines import IA3, Running

from models_registry.errors import NotFound
from models_registry.registry import Registry
from service.engine.snapshot import Snapshot, is_there, resolve


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
