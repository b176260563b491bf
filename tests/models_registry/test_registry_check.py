"""Every version against its blob, on both databases and both stores."""

from hashlib import sha256
from typing import BinaryIO

import obstore
import pytest
from obstore.store import ObjectStore
from versions import add_adapter

from models_registry.errors import Unavailable
from models_registry.registry import Registry
from models_registry.registry_check import CheckedBlob, check_blobs, find_unreferenced, references_by_digest
from models_registry.storage.blobs import BlobStore, open_blob_store


@pytest.fixture
def blobs(blob_url: str) -> BlobStore:
    return open_blob_store(blob_url)


def check(registry: Registry, blobs: BlobStore) -> dict[str, CheckedBlob]:
    """By the names of the adapters, and what is sound left out."""
    checked = check_blobs(registry, blobs, references_by_digest(registry))
    return {reference: blob for blob in checked if blob.verdict != "sound" for reference in blob.references}


def damaged(registry: Registry) -> set[str]:
    adapters = registry.snapshot().adapters.values()
    return {version.reference for adapter in adapters for version in adapter.versions if version.damaged}


def test_a_registry_whose_blobs_are_all_there_is_sound(registry: Registry, blobs: BlobStore) -> None:
    for number in range(9):
        add_adapter(registry, f"a{number}", f"{number // 2}".encode())

    checked = list(check_blobs(registry, blobs, references_by_digest(registry)))

    assert {blob.verdict for blob in checked} == {"sound"}
    assert sorted(reference for blob in checked for reference in blob.references) == [f"a{n}@1" for n in range(9)]
    assert len(checked) == 5
    assert damaged(registry) == set()


def test_each_missing_and_each_damaged_blob_is_told_with_its_versions_and_marked(
    registry: Registry, blobs: BlobStore, raw: ObjectStore
) -> None:
    add_adapter(registry, "sound", b"sound")
    lost = add_adapter(registry, "lost", b"lost")
    torn = add_adapter(registry, "torn", b"torn")
    add_adapter(registry, "twin", b"torn")
    obstore.delete(raw, lost.digest)
    obstore.put(raw, torn.digest, b"to")

    found = check(registry, blobs)

    assert {name: blob.verdict for name, blob in found.items()} == {
        "lost@1": "missing",
        "torn@1": "damaged",
        "twin@1": "damaged",
    }
    assert damaged(registry) == set(found)


def test_a_mark_goes_once_the_bytes_are_right_again(registry: Registry, blobs: BlobStore, raw: ObjectStore) -> None:
    version = add_adapter(registry, "torn", b"torn")
    obstore.put(raw, version.digest, b"to")
    check(registry, blobs)
    assert damaged(registry) == {"torn@1"}

    obstore.put(raw, version.digest, b"torn")

    assert check(registry, blobs) == {}
    assert damaged(registry) == set()


def test_a_version_that_is_removed_during_the_check_is_not_missed(
    registry: Registry, blobs: BlobStore, raw: ObjectStore
) -> None:
    version = add_adapter(registry, "gone", b"gone")
    references = references_by_digest(registry)
    registry.remove_adapter("gone")
    obstore.delete(raw, version.digest)

    assert [blob.verdict for blob in check_blobs(registry, blobs, references)] == ["sound"]


def test_a_blob_that_cannot_be_read_is_told_and_not_marked(
    registry: Registry, blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = add_adapter(registry, "bad", b"on a bad sector")
    add_adapter(registry, "good", b"elsewhere")
    opened = type(blobs).open

    def read(store: BlobStore, digest: str) -> BinaryIO:
        if digest == bad.digest:
            raise Unavailable("Input/output error")
        return opened(store, digest)

    monkeypatch.setattr(type(blobs), "open", read)
    found = check(registry, blobs)

    assert {name: (blob.verdict, blob.reason) for name, blob in found.items()} == {
        "bad@1": ("unreadable", "Input/output error")
    }
    assert damaged(registry) == set()


def test_a_store_that_is_away_ends_the_check_and_marks_nothing(
    registry: Registry, blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_adapter(registry, "a", b"a")

    def away(*_: object) -> None:
        raise Unavailable("away")

    monkeypatch.setattr(type(blobs), "open", away)
    monkeypatch.setattr(type(blobs), "ping", away)
    with pytest.raises(Unavailable):
        check(registry, blobs)
    assert damaged(registry) == set()


def test_what_no_version_names_is_unreferenced(registry: Registry, blobs: BlobStore) -> None:
    add_adapter(registry, "a", b"a")
    add_adapter(registry, "b", b"b")
    registry.remove_adapter("b")

    assert [blob.digest for blob in find_unreferenced(registry, blobs)] == [sha256(b"b").hexdigest()]
