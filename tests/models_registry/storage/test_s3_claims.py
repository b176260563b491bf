"""Removals of blobs from a bucket beside puts of the same ones: claims, and those whose owner died."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Event

import obstore
import pytest
from stores import S3Server, holds

from models_registry.storage import s3
from models_registry.storage.blobs import BlobStore, open_blob_store

SECONDS = 60.0
"""Far more than it should take, as the cores may be busy."""
HOUR = timedelta(hours=1)


@pytest.fixture
def store(s3_url: str) -> BlobStore:
    return open_blob_store(s3_url)


def test_a_claim_is_exclusive_and_no_blob(store: BlobStore, s3_url: str, s3_server: S3Server) -> None:
    digest = store.put(b"weights")
    obstore.put(s3_server.client(s3_url), f"{s3.CLAIMS}/{digest}", b"")

    assert not store.delete_older(digest, datetime.now(UTC) + HOUR)
    assert [blob.digest for blob in store.list_blobs()] == [digest]


def test_a_claim_is_given_back(store: BlobStore, s3_url: str, s3_server: S3Server) -> None:
    digest = store.put(b"weights")
    assert not store.delete_older(digest, datetime.now(UTC) - HOUR)
    assert store.delete_older(digest, datetime.now(UTC) + HOUR)

    assert list(s3_server.client(s3_url).list()) == []


def test_a_claim_whose_owner_died_is_swept_once_it_is_old(store: BlobStore, s3_url: str, s3_server: S3Server) -> None:
    digest = store.put(b"weights")
    obstore.put(s3_server.client(s3_url), f"{s3.CLAIMS}/{digest}", b"")

    assert store.sweep_partials(datetime.now(UTC) - HOUR) == 0
    assert store.sweep_partials(datetime.now(UTC) + HOUR) == 1
    assert store.delete_older(digest, datetime.now(UTC) + HOUR)


def test_a_put_notices_a_removal_that_came_and_went_between_its_write_and_its_look(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "REFRESHED_S", -1.0)
    digest = store.put(b"weights")
    look: Callable[[BlobStore, str], datetime | None] = s3.S3BlobStore.__dict__["_modified"]
    seen, delete, removed = Event(), Event(), Event()

    def step(store: BlobStore, path: str) -> datetime | None:
        if path.startswith(s3.CLAIMS):  # the put, which has written
            delete.set()
            assert removed.wait(SECONDS)
            return look(store, path)
        found = look(store, path)
        if not seen.is_set():  # the removal, which finds the blob old
            seen.set()
            assert delete.wait(SECONDS)
        return found

    monkeypatch.setattr(s3.S3BlobStore, "_modified", step)
    with ThreadPoolExecutor(2) as pool:
        removal = pool.submit(store.delete_older, digest, datetime.now(UTC) + HOUR)
        removal.add_done_callback(lambda _: removed.set())
        assert seen.wait(SECONDS)
        store.put(b"weights")

    assert removal.result()
    assert store.get(digest) == b"weights"


def test_a_put_outlasts_a_claim_whose_owner_died(
    store: BlobStore, s3_url: str, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "REFRESHED_S", -1.0)
    monkeypatch.setattr(s3, "ABANDONED_S", 0.1)
    digest = store.put(b"weights")
    obstore.put(s3_server.client(s3_url), f"{s3.CLAIMS}/{digest}", b"")

    assert store.put(b"weights") == digest
    assert store.get(digest) == b"weights"
    assert store.delete_older(digest, datetime.now(UTC) + HOUR)


def test_a_removal_that_was_held_up_since_its_claim_deletes_nothing(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = store.put(b"weights")
    monkeypatch.setattr(s3, "CLAIM_S", 0.0)

    assert not store.delete_older(digest, datetime.now(UTC) + HOUR)
    assert holds(store, digest)
