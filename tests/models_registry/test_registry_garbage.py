"""Garbage goes, and nothing else, however uploads and collections meet."""

import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from hashlib import sha256

import obstore
import pytest
from e2e.process import PATIENCE_S
from obstore.store import ObjectStore
from stores import holds
from versions import add_adapter

from models_registry import registry_garbage
from models_registry.errors import Conflict
from models_registry.registry import Registry
from models_registry.registry_garbage import AGE, collect_garbage
from models_registry.storage import directory, s3
from models_registry.storage.blobs import BlobStore, open_blob_store
from models_registry.storage.digests import REFRESHED_S

AT_ONCE = timedelta(seconds=-5)
"""What was put a moment ago is old enough then."""


@pytest.fixture
def blobs(blob_url: str) -> BlobStore:
    return open_blob_store(blob_url)


def stored(blobs: BlobStore) -> set[str]:
    return {blob.digest for blob in blobs.list_blobs()}


def test_only_what_no_version_names_goes(registry: Registry, blobs: BlobStore) -> None:
    kept = add_adapter(registry, "kept", b"kept")
    add_adapter(registry, "gone", b"gone")
    twin = add_adapter(registry, "twin", b"kept")
    orphan = blobs.put(b"an upload that died before its row")
    registry.remove_adapter("gone")
    registry.remove_adapter("twin")

    removed = collect_garbage(registry, blobs, age=AT_ONCE).removed

    assert {blob.digest for blob in removed} == {orphan, sha256(b"gone").hexdigest()}
    assert stored(blobs) == {kept.digest} == {twin.digest}
    assert registry.read_weights(registry.resolve("kept")) == b"kept"


def test_what_is_younger_than_an_hour_stays(registry: Registry, blobs: BlobStore) -> None:
    digest = blobs.put(b"its row is about to come")

    assert collect_garbage(registry, blobs).removed == ()
    assert stored(blobs) == {digest}
    assert timedelta(hours=1) == AGE >= timedelta(seconds=2 * REFRESHED_S)


def test_a_dry_run_says_what_would_go_and_removes_nothing(registry: Registry, blobs: BlobStore) -> None:
    add_adapter(registry, "kept", b"kept")
    orphan = blobs.put(b"weights")

    garbage = collect_garbage(registry, blobs, age=AT_ONCE, dry_run=True)

    assert [blob.digest for blob in garbage.removed] == [orphan]
    assert garbage.bytes == len(b"weights")
    assert holds(blobs, orphan)


def test_a_registry_that_names_none_of_the_blobs_removes_none_unless_that_is_meant(
    registry: Registry, blobs: BlobStore
) -> None:
    """It may be the wrong one: an empty database beside a full bucket."""
    orphan = blobs.put(b"weights")

    with pytest.raises(Conflict, match="another registry"):
        collect_garbage(registry, blobs, age=AT_ONCE)
    assert holds(blobs, orphan)
    assert len(collect_garbage(registry, blobs, age=AT_ONCE, even_all=True).removed) == 1
    assert collect_garbage(registry, blobs, age=AT_ONCE).removed == ()


def test_a_version_that_comes_while_garbage_is_collected_keeps_its_blob(
    registry: Registry, blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the collection had listed that as garbage already: for each few it asks again."""
    orphans = {blobs.put(weights): weights for weights in (b"one", b"two")}
    add_adapter(registry, "kept", b"kept")
    monkeypatch.setattr(registry_garbage, "BATCH", 1)
    delete_older = type(blobs).delete_older

    def delete(store: BlobStore, digest: str, before: datetime) -> bool:
        for other in orphans.keys() - {digest}:
            add_adapter(registry, "late", orphans[other])
        return delete_older(store, digest, before)

    monkeypatch.setattr(type(blobs), "delete_older", delete)
    removed = collect_garbage(registry, blobs, age=AT_ONCE).removed

    assert len(removed) == 1
    assert registry.read_weights(registry.resolve("late")) in orphans.values()


def test_unfinished_writes_are_swept_with_the_garbage(registry: Registry, blobs: BlobStore, raw: ObjectStore) -> None:
    left = {"directory": f".{'a' * 64}.uuid.partial", "s3": f"{s3.CLAIMS}/{'a' * 64}"}
    for name in left.values():
        obstore.put(raw, name, b"half")

    assert collect_garbage(registry, blobs).partials == 0
    assert collect_garbage(registry, blobs, age=AT_ONCE).partials == 1


@pytest.mark.parametrize(
    ("dialect", "ages"),
    [
        ("sqlite", 3),
        pytest.param("sqlite", 20, marks=pytest.mark.deep),
        pytest.param("postgres", 20, marks=pytest.mark.deep),
    ],
    indirect=["dialect"],
)
def test_no_upload_loses_its_bytes_to_a_collection_beside_it(
    registry: Registry, blobs: BlobStore, blob_url: str, monkeypatch: pytest.MonkeyPatch, ages: int
) -> None:
    """The hour is a second or two here. The same few blobs are put, named, left alone for a while and put again by
    several threads, while others collect all the time."""
    # S3 counts whole seconds.
    refreshed_s, age_s, step_s = {"s3": (0.5, 2.5, 1.0), "file": (0.2, 0.8, 0.0)}[blob_url.partition(":")[0]]
    for module in (directory, s3):
        monkeypatch.setattr(module, "REFRESHED_S", refreshed_s)
    ends_at = time.monotonic() + ages * age_s
    seen = Counter[str]()
    add_adapter(registry, "kept", b"kept")

    def goes_on() -> bool:
        """For so many ages, and longer where a slow machine hasn't come to all of it by then."""
        late_s = time.monotonic() - ends_at
        return late_s < 0 or (late_s < PATIENCE_S and not seen.keys() >= {"in time", "anew", "removed"})

    def upload(thread: int) -> None:
        """Counts the uploads that were in time, and those that found their blob gone before."""
        chance = random.Random(thread)
        while goes_on():
            weights = f"weights {chance.randrange(4)}".encode()
            if not holds(blobs, sha256(weights).hexdigest()):
                seen["anew"] += 1
            begun = time.monotonic()
            version = add_adapter(registry, f"a{thread}", weights)
            # What the hour is for: a row follows its put before that.
            if time.monotonic() - begun < age_s - refreshed_s - step_s:
                time.sleep(chance.random() * 0.2)
                assert registry.read_weights(version) == weights
                seen["in time"] += 1
            registry.remove_adapter(f"a{thread}")
            time.sleep(chance.random() * 2 * age_s)

    def collect(_: int) -> None:
        while goes_on():
            if collect_garbage(registry, blobs, age=timedelta(seconds=age_s)).removed:
                seen["removed"] += 1

    with ThreadPoolExecutor(5) as pool:
        collections, uploads = pool.map(collect, range(2)), pool.map(upload, range(3))
    assert [*collections, *uploads] == [None] * 5
    assert seen.keys() == {"in time", "anew", "removed"}
