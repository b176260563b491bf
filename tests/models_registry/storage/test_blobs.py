import os
import resource
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest

from models_registry.errors import Damaged, Invalid, NoRoom, NotFound, Unavailable, Unsupported
from models_registry.storage.blobs import BlobStore, open_blob_store

NOWHERE = sha256(b"never stored").hexdigest()


@contextmanager
def files_of_at_most(size: int) -> Generator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("data", [b"", b"weights", bytes(range(256)) * 4096])
def test_what_was_put_comes_back_under_its_sha256(blobs: BlobStore, blob_directory: Path, data: bytes) -> None:
    digest = blobs.put(data)

    assert digest == sha256(data).hexdigest()
    assert blobs.get(digest) == data
    assert [file.name for file in blob_directory.iterdir()] == [digest]


def test_blobs_outlive_the_store_that_wrote_them(blobs: BlobStore, blob_directory: Path) -> None:
    digest = blobs.put(b"weights")

    assert open_blob_store(f"file://{blob_directory}").get(digest) == b"weights"


def test_a_relative_url_means_a_directory_under_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    blobs = open_blob_store("file:var/blobs")
    monkeypatch.chdir("/")  # where it was opened counts, not where it is used

    assert (tmp_path / "var" / "blobs" / blobs.put(b"weights")).is_file()


def test_a_valid_blob_is_not_written_again(blobs: BlobStore, blob_directory: Path) -> None:
    written = (blob_directory / blobs.put(b"weights")).stat()
    again = (blob_directory / blobs.put(b"weights")).stat()

    assert (again.st_ino, again.st_mtime_ns) == (written.st_ino, written.st_mtime_ns)


def test_a_blob_that_is_there_is_durable_too_before_put_returns(
    blobs: BlobStore, blob_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another writer may have named it a moment ago, and not have made the name durable yet."""
    blobs.put(b"weights")
    synced: list[Path] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(Path(f"/proc/self/fd/{descriptor}").readlink()))
    blobs.put(b"weights")

    assert synced == [blob_directory]


@pytest.mark.parametrize("damage", [b"", b"weight", b"weightz", b"weights and more"])
def test_damaged_bytes_are_never_served_and_the_next_put_mends_them(
    blobs: BlobStore, blob_directory: Path, damage: bytes
) -> None:
    digest = blobs.put(b"weights")
    (blob_directory / digest).write_bytes(damage)

    with pytest.raises(Damaged, match=digest):
        blobs.get(digest)
    blobs.put(b"weights")
    assert blobs.get(digest) == b"weights"


def test_an_unknown_digest_is_not_found(blobs: BlobStore) -> None:
    assert not blobs.exists(NOWHERE)
    with pytest.raises(NotFound, match=NOWHERE):
        blobs.get(NOWHERE)


@pytest.mark.parametrize("digest", ["../secret", "", "A" * 64, "/etc/passwd", "0" * 63, "0" * 64 + "\n"])
def test_only_a_digest_names_a_file(blobs: BlobStore, tmp_path: Path, digest: str) -> None:
    (tmp_path / "secret").write_text("not a blob")

    with pytest.raises(NotFound, match="no sha256"):
        blobs.get(digest)


def test_a_deleted_blob_is_gone_and_deleting_it_again_is_fine(blobs: BlobStore) -> None:
    digest = blobs.put(b"weights")
    assert blobs.exists(digest)

    blobs.delete(digest)
    blobs.delete(digest)

    assert not blobs.exists(digest)


def test_a_full_store_changes_nothing_and_takes_the_blob_once_there_is_room(
    blobs: BlobStore, blob_directory: Path
) -> None:
    data = bytes(100_000)
    with files_of_at_most(50_000), pytest.raises(NoRoom, match=str(blob_directory)):
        blobs.put(data)
    assert list(blob_directory.iterdir()) == []

    assert blobs.get(blobs.put(data)) == data


def test_a_store_that_is_away_says_so_and_is_not_created_anew(blobs: BlobStore, blob_directory: Path) -> None:
    digest = blobs.put(b"weights")
    blobs.ping()
    blob_directory.rename(blob_directory.with_name("elsewhere"))

    for attempt in (
        blobs.ping,
        lambda: blobs.get(digest),
        lambda: blobs.exists(digest),
        lambda: blobs.put(b"other weights"),
    ):
        with pytest.raises(Unavailable, match=str(blob_directory)):
            attempt()
    assert not blob_directory.exists()

    blob_directory.with_name("elsewhere").rename(blob_directory)
    assert blobs.get(digest) == b"weights"


def test_many_threads_may_put_the_same_blob(blobs: BlobStore, blob_directory: Path) -> None:
    data = bytes(range(256)) * 1000
    with ThreadPoolExecutor(8) as pool:
        digests = set(pool.map(blobs.put, [data] * 32))

    assert [file.name for file in blob_directory.iterdir()] == list(digests)
    assert blobs.get(digests.pop()) == data


@pytest.mark.parametrize("url", ["", "file:", "file://", "var/blobs", "ftp://host/blobs"])
def test_a_url_we_cannot_read_is_refused(url: str) -> None:
    with pytest.raises(Invalid, match="file:DIRECTORY"):
        open_blob_store(url)


def test_s3_is_refused_by_name() -> None:
    with pytest.raises(Unsupported, match="S3"):
        open_blob_store("s3://bucket/prefix")


def test_a_directory_that_cannot_be_created_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")

    with pytest.raises(Unavailable, match="taken"):
        open_blob_store(f"file:{tmp_path}/taken/blobs")
