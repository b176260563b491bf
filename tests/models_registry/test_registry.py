"""The registry as a whole: its log, its generation, its snapshots, and its stores being away."""

from hashlib import sha256
from pathlib import Path

import pytest
from registering import ARCHITECTURE, OTHER_WEIGHTS, SOURCE, build, content, kinds

from models_registry.errors import Conflict, Unavailable
from models_registry.records import RegistrySnapshot
from models_registry.registry import Registry
from models_registry.storage.blobs import BlobStore
from models_registry.storage.database import Database, open_database

WEIGHTS = sha256(b"weights").hexdigest()


def test_every_change_raises_the_generation_and_leaves_its_event(registry: Registry) -> None:
    build(registry)
    registry.record_built("base", ARCHITECTURE)  # nothing new: no event
    registry.record_failure("base", "no memory")
    registry.record_built("base", ARCHITECTURE)
    registry.set_hosted("base", False)
    registry.set_hosted("base", True)
    registry.create_adapter("base", "tone", **content())
    registry.add_version("tone", **content())
    registry.move_alias("tone", "prod", 1)
    registry.move_alias("tone", "prod", 1)  # it points there: no event
    registry.move_alias("tone", "prod", 2)
    registry.remove_version("tone", 1)
    registry.mark_damaged(WEIGHTS)
    registry.mark_sound(WEIGHTS)
    registry.remove_alias("tone", "prod")
    registry.remove_adapter("tone")
    registry.create_adapter("base", "pirate", **content())
    registry.remove_base_model("base", cascade=True)

    assert registry.generation() == 19
    assert kinds(registry) == [
        ("model.registered", "base"),
        ("model.built", "base"),
        ("model.failed", "base"),
        ("model.built", "base"),
        ("model.unhosted", "base"),
        ("model.hosted", "base"),
        ("adapter.created", "tone"),
        ("version.added", "tone@1"),
        ("version.added", "tone@2"),
        ("alias.moved", "tone@prod"),
        ("alias.moved", "tone@prod"),
        ("version.removed", "tone@1"),
        ("blob.damaged", f"sha256:{WEIGHTS}"),
        ("blob.sound", f"sha256:{WEIGHTS}"),
        ("alias.removed", "tone@prod"),
        ("adapter.removed", "tone"),
        ("adapter.created", "pirate"),
        ("version.added", "pirate@1"),
        ("adapter.removed", "pirate"),
        ("model.removed", "base"),
    ]


def test_what_fails_leaves_no_event_and_no_generation(registry: Registry) -> None:
    build(registry)
    registry.create_adapter("base", "tone", **content())
    before = registry.snapshot(), kinds(registry)

    for attempt in (
        lambda: registry.register_base_model("base", SOURCE),
        lambda: registry.record_built("base", OTHER_WEIGHTS),
        lambda: registry.remove_base_model("base"),
        lambda: registry.create_adapter("base", "tone", **content()),
        lambda: registry.add_version("tone", if_match={"0" * 64}, **content()),
    ):
        with pytest.raises(Conflict):
            attempt()
    assert (registry.snapshot(), kinds(registry)) == before


def test_a_snapshot_holds_every_adapter_at_one_generation(registry: Registry) -> None:
    build(registry)
    registry.create_adapter("base", "tone", **content())
    registry.create_adapter("base", "pirate", **content())
    registry.add_version("tone", **content(b"two"))
    registry.move_alias("tone", "prod", 1)
    snapshot = registry.snapshot()

    assert snapshot.generation == registry.generation() == 6
    assert snapshot.adapters == {name: registry.find_adapter(name) for name in ("tone", "pirate")}


def test_a_later_snapshot_reads_what_was_changed_and_keeps_the_rest(registry: Registry) -> None:
    build(registry)
    build(registry, "other")
    for name, model in (
        ("kept", "base"),
        ("grown", "base"),
        ("removed", "base"),
        ("recreated", "base"),
        ("x", "other"),
    ):
        registry.create_adapter(model, name, **content())
    early = registry.snapshot()
    assert registry.snapshot(early) is early

    registry.add_version("grown", **content(b"two"))
    registry.remove_adapter("removed")
    registry.remove_adapter("recreated")
    registry.create_adapter("base", "recreated", **content(b"other"))
    registry.remove_base_model("other", cascade=True)
    registry.create_adapter("base", "other", **content())  # an adapter may be called as a model was

    late = registry.snapshot(early)
    assert late == registry.snapshot()
    assert late.adapters.keys() == {"kept", "grown", "recreated", "other"}
    assert late.adapters["kept"] is early.adapters["kept"]


def test_a_snapshot_of_a_database_that_was_put_back_is_read_anew(registry: Registry) -> None:
    build(registry)
    registry.create_adapter("base", "tone", **content())
    ahead = RegistrySnapshot(generation=99, adapters={})

    assert registry.snapshot(ahead) == registry.snapshot()


def test_a_snapshot_catches_up_with_any_number_of_changes(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    build(registry)
    early = registry.snapshot()
    for name in ("a", "b", "c"):
        registry.create_adapter("base", name, **content())

    monkeypatch.setattr("models_registry.storage.snapshots.MANY", 2)
    assert registry.snapshot(early) == registry.snapshot()


def test_a_blob_store_that_is_away_is_told_from_a_registry_that_answers(
    registry: Registry, blob_directory: Path
) -> None:
    registry.ping_blobs()
    blob_directory.rmdir()

    with pytest.raises(Unavailable, match=str(blob_directory)):
        registry.ping_blobs()
    assert registry.generation() == 0


def test_a_registry_opened_again_says_the_same(
    registry: Registry, database: Database, database_url: str, blobs: BlobStore
) -> None:
    build(registry)
    registry.create_adapter("base", "tone", **content())
    before = registry.list_base_models(10), registry.find_architecture("base"), registry.snapshot()
    database.close()

    reopened = open_database(database_url)
    again = Registry(reopened, blobs)
    assert (again.list_base_models(10), again.find_architecture("base"), again.snapshot()) == before
    reopened.close()
