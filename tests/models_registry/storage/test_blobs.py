"""What holds for every blob store, on a directory and on a real S3."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from threading import Event

import obstore
import pytest
from e2e.process import PATIENCE_S, until
from obstore.store import ObjectStore
from stores import holds

from models_registry.errors import Damaged, NotFound
from models_registry.storage import directory, s3
from models_registry.storage.blobs import BlobStore, open_blob_store
from models_registry.storage.digests import StoredBlob

NOWHERE = sha256(b"never stored").hexdigest()
LARGE = bytes(range(256)) * (s3.PART_BYTES * 5 // 2 // 256)
"""Three parts, the last one shorter."""

HOUR = timedelta(hours=1)


@pytest.fixture
def store(blob_url: str) -> BlobStore:
    return open_blob_store(blob_url)


class Pause:
    """Holds the first look at a blob's time between looking and telling what was seen."""

    def __init__(self, look: Callable[..., object]) -> None:
        self.seen, self.looked_again, self.go_on = Event(), Event(), Event()
        self._look = look

    def __call__(self, *arguments: object) -> object:
        found = self._look(*arguments)
        if self.seen.is_set():
            self.looked_again.set()
        else:
            self.seen.set()
            assert self.go_on.wait(PATIENCE_S)
        return found


@pytest.fixture
def pause(blob_url: str, monkeypatch: pytest.MonkeyPatch) -> Pause:
    """Of the next removal, where a put could come between its look and its deed."""
    place, name = (s3.S3BlobStore, "_modified") if blob_url.startswith("s3:") else (directory, "_modified_s")
    paused = Pause(getattr(place, name))

    def look(*arguments: object) -> object:  # a function, so that it can be a method
        return paused(*arguments)

    monkeypatch.setattr(place, name, look)
    return paused


@pytest.fixture
def everything_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if hours had passed after every put."""
    for module in (directory, s3):
        monkeypatch.setattr(module, "REFRESHED_S", -1.0)


def now() -> datetime:
    return datetime.now(UTC)


def names(raw: ObjectStore) -> set[str]:
    return {found["path"] for page in raw.list() for found in page} - {".lock"}


@pytest.mark.parametrize("data", [b"", b"weights", bytes(range(256)) * 4096, LARGE], ids=len)
def test_what_was_put_comes_back_under_its_sha256(store: BlobStore, raw: ObjectStore, data: bytes) -> None:
    digest = store.put(data)

    assert digest == sha256(data).hexdigest()
    assert store.get(digest) == data
    assert names(raw) == {digest}


def test_a_part_of_a_buffer_is_stored_without_a_copy_of_its_own(store: BlobStore) -> None:
    assert store.get(store.put(memoryview(b"head weights tail")[5:12])) == b"weights"


def test_blobs_outlive_the_store_that_wrote_them(store: BlobStore, blob_url: str) -> None:
    digest = store.put(b"weights")

    assert open_blob_store(blob_url).get(digest) == b"weights"


@pytest.mark.parametrize("data", [b"weights", LARGE], ids=len)
def test_a_valid_blob_is_not_written_again(store: BlobStore, raw: ObjectStore, data: bytes) -> None:
    written = obstore.head(raw, store.put(data))

    assert obstore.head(raw, store.put(data)) == written


@pytest.mark.parametrize("damage", [b"", b"weight", b"weightz", b"weights and more"])
def test_damaged_bytes_are_never_served_and_the_next_put_mends_them(
    store: BlobStore, raw: ObjectStore, damage: bytes
) -> None:
    digest = store.put(b"weights")
    obstore.put(raw, digest, damage)

    with pytest.raises(Damaged, match=digest):
        store.get(digest)
    store.put(b"weights")
    assert store.get(digest) == b"weights"


def test_an_unknown_digest_is_not_found(store: BlobStore) -> None:
    with pytest.raises(NotFound, match=NOWHERE):
        store.get(NOWHERE)


@pytest.mark.parametrize("digest", ["../secret", "", "A" * 64, "/etc/passwd", "0" * 63, "0" * 64 + "\n"])
def test_only_a_digest_names_a_blob(store: BlobStore, raw: ObjectStore, digest: str) -> None:
    obstore.put(raw, "secret", b"no blob")

    for attempt in (
        store.get,
        lambda name: store.presign(name, 60) or store.get(name),
        lambda name: store.delete_older(name, now()),
    ):
        with pytest.raises(NotFound, match="no sha256"):
            attempt(digest)
    assert names(raw) == {"secret"}


def test_many_threads_may_put_the_same_blob(store: BlobStore, raw: ObjectStore) -> None:
    data = bytes(range(256)) * 1000
    with ThreadPoolExecutor(8) as pool:
        digests = set(pool.map(store.put, [data] * 32))

    assert names(raw) == digests
    assert store.get(digests.pop()) == data


def test_a_listing_names_every_blob_and_nothing_else(store: BlobStore, raw: ObjectStore) -> None:
    begun = now() - timedelta(seconds=2)  # S3 counts whole seconds
    sizes = {store.put(data): len(data) for data in (b"", b"weights", b"other weights")}
    obstore.put(raw, "README", b"no blob")
    blobs = list(store.list_blobs())

    assert {blob.digest: blob.bytes for blob in blobs} == sizes
    assert all(begun <= blob.modified_at <= now() for blob in blobs)
    assert all(isinstance(blob, StoredBlob) for blob in blobs)


def test_a_listing_is_longer_than_a_page(store: BlobStore, raw: ObjectStore) -> None:
    """S3 lists a thousand at a time."""
    digests = {f"{number:064x}" for number in range(1010)}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda digest: obstore.put(raw, digest, b""), digests))

    assert {blob.digest for blob in store.list_blobs()} == digests


# ---- old blobs: renewed by a put, else removed ----------------------------------------------------------------------


def test_only_an_old_blob_is_removed_as_such(store: BlobStore) -> None:
    digest = store.put(b"weights")

    assert not store.delete_older(digest, now() - HOUR)
    assert holds(store, digest)
    assert store.delete_older(digest, now() + HOUR)
    assert not holds(store, digest)
    assert not store.delete_older(digest, now() + HOUR)


@pytest.mark.usefixtures("everything_is_old")
@pytest.mark.parametrize("data", [b"weights", LARGE], ids=len)
def test_a_put_renews_the_time_of_what_lies_there_for_long(store: BlobStore, raw: ObjectStore, data: bytes) -> None:
    """S3 counts whole seconds."""
    written = obstore.head(raw, store.put(data))["last_modified"]
    until(lambda: obstore.head(raw, store.put(data))["last_modified"] > written)

    assert store.get(store.put(data)) == data


@pytest.mark.usefixtures("everything_is_old")
@pytest.mark.parametrize("there", [b"weights", b"damaged"])
def test_a_put_waits_for_a_removal_that_found_the_blob_old_and_stores_it_anew(
    store: BlobStore, raw: ObjectStore, pause: Pause, there: bytes
) -> None:
    digest = sha256(b"weights").hexdigest()
    obstore.put(raw, digest, there)
    with ThreadPoolExecutor(2) as pool:
        removal = pool.submit(store.delete_older, digest, now() + HOUR)
        pause.seen.wait(PATIENCE_S)
        put = pool.submit(store.put, b"weights")
        assert pause.looked_again.wait(PATIENCE_S)
        wait([put], timeout=0.2)  # time enough for a put that doesn't wait
        waits = not put.done()
        pause.go_on.set()

        assert removal.result()
        assert put.result() == digest
    assert waits
    assert store.get(digest) == b"weights"


@pytest.mark.usefixtures("everything_is_old")
def test_a_removal_leaves_a_blob_that_was_renewed_before_it_looked(store: BlobStore, raw: ObjectStore) -> None:
    long_ago = now() - HOUR
    digest = store.put(b"weights")
    store.put(b"weights")

    assert not store.delete_older(digest, long_ago)
    assert names(raw) == {digest}
