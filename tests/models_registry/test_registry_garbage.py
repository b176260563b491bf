"""Garbage goes, and nothing else, however uploads and collections meet."""

import random
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from hashlib import sha256

import obstore
import pytest
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
    refreshed_s, age_s, step_s = (0.5, 2.5, 1.0) if blob_url.startswith("s3:") else (0.2, 0.8, 0.0)
    for module in (directory, s3):
        monkeypatch.setattr(module, "REFRESHED_S", refreshed_s)
    ends_at = time.monotonic() + ages * age_s
    add_adapter(registry, "kept", b"kept")

    def upload(thread: int) -> tuple[int, int]:
        """How many uploads were in time, and how many found their blob gone before."""
        chance = random.Random(thread)
        done = anew = 0
        while time.monotonic() < ends_at:
            weights = f"weights {chance.randrange(4)}".encode()
            anew += not holds(blobs, sha256(weights).hexdigest())
            begun = time.monotonic()
            version = add_adapter(registry, f"a{thread}", weights)
            # What the hour is for: a row follows its put before that.
            if time.monotonic() - begun < age_s - refreshed_s - step_s:
                time.sleep(chance.random() * 0.2)
                assert registry.read_weights(version) == weights
                done += 1
            registry.remove_adapter(f"a{thread}")
            time.sleep(min(chance.random() * 2 * age_s, max(0.0, ends_at - time.monotonic())))
        return done, anew

    def collect(_: int) -> int:
        removed = 0
        while time.monotonic() < ends_at:
            removed += len(collect_garbage(registry, blobs, age=timedelta(seconds=age_s)).removed)
        return removed

    with ThreadPoolExecutor(5) as pool:
        collections = [pool.submit(collect, number) for number in range(2)]
        uploads = [pool.submit(upload, number) for number in range(3)]
        assert sum(upload.result()[0] for upload in uploads) > 0
        assert sum(collection.result() for collection in collections) > 0
        assert sum(upload.result()[1] for upload in uploads) > 0
