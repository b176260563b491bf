"""What only a directory can do wrong: names, durability, disks that are full, read-only or away."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from disks import Disk, disk_at, files_of_at_most
from stores import holds

from models_registry.errors import Invalid, NoRoom, Unavailable
from models_registry.storage.blobs import BlobStore, open_blob_store

WEIGHTS = sha256(b"weights").hexdigest()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Where the blobs are, if a test asks for it before them."""
    with disk_at(tmp_path / "blobs") as disk:
        yield disk


def test_a_relative_url_means_a_directory_under_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    blobs = open_blob_store("file:var/blobs")
    monkeypatch.chdir("/")  # where it was opened counts, not where it is used

    assert (tmp_path / "var" / "blobs" / blobs.put(b"weights")).is_file()


def test_a_url_may_have_two_slashes(blobs: BlobStore, blob_directory: Path) -> None:
    assert open_blob_store(f"file://{blob_directory}").get(blobs.put(b"weights")) == b"weights"


def test_a_blob_is_one_file_of_its_name(blobs: BlobStore, blob_directory: Path) -> None:
    blobs.put(b"weights")

    assert [file.name for file in blob_directory.iterdir()] == [WEIGHTS]


def test_a_valid_blob_keeps_its_file(blobs: BlobStore, blob_directory: Path) -> None:
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


def test_a_store_that_is_away_says_so_and_is_not_created_anew(blobs: BlobStore, blob_directory: Path) -> None:
    digest = blobs.put(b"weights")
    blobs.ping()
    blob_directory.rename(blob_directory.with_name("elsewhere"))

    for attempt in (
        blobs.ping,
        lambda: blobs.get(digest),
        lambda: blobs.put(b"other weights"),
        lambda: blobs.delete_older(digest, datetime.now(UTC)),
        lambda: list(blobs.list_blobs()),
        lambda: blobs.sweep_partials(datetime.now(UTC)),
    ):
        with pytest.raises(Unavailable, match=str(blob_directory)):
            attempt()
    assert not blob_directory.exists()

    blob_directory.with_name("elsewhere").rename(blob_directory)
    assert blobs.get(digest) == b"weights"


def test_a_full_disk_changes_nothing_and_takes_the_blob_once_there_is_room(disk: Disk, blobs: BlobStore) -> None:
    digest = blobs.put(b"weights")
    with disk.full():
        before = sorted(disk.path.iterdir())
        for attempt in (bytes(100_000), b"little"):
            with pytest.raises(NoRoom, match=str(disk.path)):
                blobs.put(attempt)
        assert blobs.put(b"weights") == digest
        assert sorted(disk.path.iterdir()) == before

    assert blobs.get(blobs.put(bytes(100_000))) == bytes(100_000)


def test_a_limit_on_the_size_of_files_is_no_room(blobs: BlobStore, blob_directory: Path) -> None:
    with files_of_at_most(50_000), pytest.raises(NoRoom, match=str(blob_directory)):
        blobs.put(bytes(100_000))
    assert list(blob_directory.iterdir()) == []


def test_a_quota_that_is_used_up_is_no_room(
    blobs: BlobStore, blob_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(os, "fsync", refuse)  # where a quota over a network shows itself
    with pytest.raises(NoRoom, match="quota"):
        blobs.put(b"weights")
    assert list(blob_directory.iterdir()) == []


def test_a_read_only_disk_takes_nothing_and_loses_nothing(disk: Disk, blobs: BlobStore) -> None:
    digest = blobs.put(b"weights")
    with disk.read_only():
        for attempt in (
            blobs.ping,
            lambda: blobs.put(b"other weights"),
            lambda: blobs.delete_older(digest, datetime.now(UTC)),
        ):
            with pytest.raises(Unavailable, match=str(disk.path)):
                attempt()
    assert blobs.get(digest) == b"weights"
    assert [blob.digest for blob in blobs.list_blobs()] == [digest]


@pytest.mark.parametrize("url", ["", "file:", "file://", "var/blobs", "ftp://host/blobs"])
def test_a_url_we_cannot_read_is_refused(url: str) -> None:
    with pytest.raises(Invalid, match="file:DIRECTORY"):
        open_blob_store(url)


def test_a_directory_that_cannot_be_created_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")

    with pytest.raises(Unavailable, match="taken"):
        open_blob_store(f"file:{tmp_path}/taken/blobs")


def test_a_directory_has_no_urls(blobs: BlobStore) -> None:
    assert blobs.presign(blobs.put(b"weights"), 60) is None


def test_what_a_writer_that_died_left_is_swept_once_it_is_old(blobs: BlobStore, blob_directory: Path) -> None:
    code = f"""
import os
from pathlib import Path
from models_registry.storage.blobs import open_blob_store
Path.replace = lambda *_: os._exit(9)
open_blob_store("file:{blob_directory}").put(b"weights")
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    (partial,) = blob_directory.iterdir()
    digest = blobs.put(b"other weights")

    assert list(blobs.list_blobs()) == [next(blobs.list_blobs())]
    assert blobs.sweep_partials(datetime.now(UTC) - timedelta(hours=1)) == 0
    assert partial.exists()
    assert blobs.sweep_partials(datetime.now(UTC)) == 1
    assert not partial.exists()
    assert holds(blobs, digest)
