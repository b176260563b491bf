"""Adapters and versions at rest: created, extended, named by references, removed; and their bytes."""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from registering import ARCHITECTURE, SOURCE, build, content
from stores import holds

from models_registry.errors import Conflict, Damaged, NotFound, Stale
from models_registry.records import AdapterVersion
from models_registry.registry import Registry
from models_registry.storage.blobs import BlobStore


def test_an_adapter_is_found_as_it_was_created(registry: Registry) -> None:
    build(registry)
    version = registry.create_adapter("base", "tone", **content())

    assert version == AdapterVersion(
        adapter="tone",
        model="base",
        version=1,
        method="LORA",
        config=content()["config"],
        digest=sha256(b"weights").hexdigest(),
        parameters=24,
        bytes=7,
        targets=("0",),
        metadata={"by": "Ada", "n": [1]},
        fingerprint=ARCHITECTURE.fingerprint,
        created_at=version.created_at,
    )
    assert registry.find_adapter("tone").versions == (version,)
    assert list(registry.resolve("tone").config) == list(version.config)
    assert registry.read_weights(version) == b"weights"


def test_a_taken_name_is_a_conflict_on_any_model_and_stores_no_blob(registry: Registry, blobs: BlobStore) -> None:
    build(registry)
    build(registry, "other")
    first = registry.create_adapter("base", "tone", **content())

    for model in ("base", "other"):
        with pytest.raises(Conflict, match="'tone' already"):
            registry.create_adapter(model, "tone", **content(b"other weights"))
    assert registry.find_adapter("tone").versions == (first,)
    assert not holds(blobs, sha256(b"other weights").hexdigest())


def test_a_model_that_was_never_built_takes_no_adapter(registry: Registry, blobs: BlobStore) -> None:
    registry.register_base_model("base", SOURCE)

    with pytest.raises(Conflict, match="never built"):
        registry.create_adapter("base", "tone", **content())
    assert not holds(blobs, sha256(b"weights").hexdigest())


def test_versions_count_up_and_each_keeps_its_own(registry: Registry) -> None:
    build(registry)
    first = registry.create_adapter("base", "tone", **content(b"one"))
    second = registry.add_version("tone", **content(b"two", config={"peft_type": "LORA", "r": 8}, metadata={}))

    assert (first.version, second.version, second.reference) == (1, 2, "tone@2")
    assert registry.find_adapter("tone").versions == (first, second)
    assert registry.find_adapter("tone").newest == second
    assert [registry.read_weights(version) for version in (first, second)] == [b"one", b"two"]


def test_a_version_that_builds_on_an_older_one_is_stale_and_changes_nothing(registry: Registry) -> None:
    build(registry)
    first = registry.create_adapter("base", "tone", **content(b"one"))
    second = registry.add_version("tone", if_match={first.digest}, **content(b"two"))

    with pytest.raises(Stale, match="tone@2"):
        registry.add_version("tone", if_match={first.digest}, **content(b"three"))
    assert registry.find_adapter("tone").newest == second


def test_the_number_of_a_removed_version_is_never_given_again(registry: Registry) -> None:
    build(registry)
    registry.create_adapter("base", "tone", **content(b"one"))
    registry.add_version("tone", **content(b"two"))
    registry.remove_version("tone", 2)

    assert registry.add_version("tone", **content(b"three")).version == 3


def test_a_reference_is_a_name_a_number_or_an_alias(registry: Registry) -> None:
    build(registry)
    first = registry.create_adapter("base", "tone", **content(b"one"))
    second = registry.add_version("tone", **content(b"two"))
    registry.move_alias("tone", "prod", 1)

    assert registry.resolve("tone") == second
    assert registry.resolve("tone@1") == first
    assert registry.resolve("tone@prod") == first
    assert registry.find_adapter("tone").aliases == {"prod": 1}


@pytest.mark.parametrize(
    ("reference", "part"),
    [
        ("tune@1", "no adapter 'tune'"),
        ("tone@2", "no version '2'"),
        ("tone@01", "no version '01'"),
        ("tone@prod", "no alias 'prod'"),
        ("tone@", "no alias ''"),
        ("tone@1@1", "no alias '1@1'"),
    ],
)
def test_a_reference_to_nothing_says_which_part_is_missing(registry: Registry, reference: str, part: str) -> None:
    build(registry)
    registry.create_adapter("base", "tone", **content())

    with pytest.raises(NotFound, match=part):
        registry.resolve(reference)


def test_adapters_are_listed_by_name_a_page_at_a_time_and_by_model(registry: Registry) -> None:
    build(registry)
    build(registry, "other")
    for name, model in (("c", "base"), ("a", "other"), ("b", "base")):
        registry.create_adapter(model, name, **content())
        registry.add_version(name, **content(b"two"))

    assert [adapter.name for adapter in registry.list_adapters(2)] == ["a", "b"]
    assert [adapter.name for adapter in registry.list_adapters(2, after="b")] == ["c"]
    assert registry.list_adapters(2, model="base") == (registry.find_adapter("b"), registry.find_adapter("c"))
    assert registry.list_adapters(2, after="b", model="other") == ()


def test_a_removed_adapter_is_gone_and_its_name_is_free(registry: Registry) -> None:
    build(registry)
    registry.create_adapter("base", "tone", **content())
    registry.remove_adapter("tone")

    assert registry.list_adapters(10) == ()
    assert registry.create_adapter("base", "tone", **content(b"other")).version == 1


def test_an_adapter_with_an_alias_is_not_removed(registry: Registry) -> None:
    build(registry)
    registry.create_adapter("base", "tone", **content())
    registry.move_alias("tone", "prod", 1)

    with pytest.raises(Conflict, match="has aliases: prod"):
        registry.remove_adapter("tone")
    assert registry.resolve("tone@prod").version == 1


@pytest.mark.parametrize("damage", [lambda file: file.write_bytes(b"weightz"), lambda file: file.unlink()])
def test_weights_that_are_not_what_was_stored_are_damaged(
    registry: Registry, blob_directory: Path, damage: Callable[[Path], object]
) -> None:
    build(registry)
    version = registry.create_adapter("base", "tone", **content())
    damage(blob_directory / version.digest)

    with pytest.raises(Damaged, match=version.digest):
        registry.read_weights(version)


def test_a_version_is_sound_once_its_bytes_are_though_it_was_found_before_they_were_damaged(
    registry: Registry, blob_directory: Path
) -> None:
    build(registry)
    version = registry.create_adapter("base", "tone", **content())
    blob = blob_directory / version.digest
    weights = blob.read_bytes()
    blob.write_bytes(b"weightz")
    with pytest.raises(Damaged):
        registry.read_weights(version)
    assert registry.resolve("tone").damaged

    blob.write_bytes(weights)
    registry.read_weights(version)

    assert not registry.resolve("tone").damaged
