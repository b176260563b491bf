"""What is no regular file under a blob's name: damaged, never followed, never waited for, mended by the next put."""

import os
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest
from open_files import open_files

from models_registry.errors import Damaged, Unavailable
from models_registry.storage.blobs import BlobStore

DATA = b"weights"
DIGEST = sha256(DATA).hexdigest()


def make_directory(path: Path) -> None:
    path.mkdir()
    (path / "somebody's").write_bytes(b"file")


def make_link(path: Path) -> None:
    """To a file that has the right bytes: it would be served if it was followed."""
    outside = path.parents[1] / "outside"
    outside.write_bytes(DATA)
    path.symlink_to(outside)


def make_dangling_link(path: Path) -> None:
    path.symlink_to("nowhere")


def make_link_to_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def make_socket(path: Path) -> None:
    # A socket's address may be 108 bytes long, and a digest in a test's directory is longer.
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(short := os.path.relpath(path.with_name("s")))
    Path(short).rename(path)


IRREGULAR = [make_directory, make_link, make_dangling_link, make_link_to_device, make_socket, os.mkfifo]


@pytest.fixture(params=IRREGULAR, ids=lambda make: make.__name__)
def irregular(
    request: pytest.FixtureRequest, blobs: BlobStore, blob_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Where the blob belongs, with something else there. Made after the store was opened."""
    monkeypatch.chdir(blob_directory)
    make: Callable[[Path], None] = request.param
    make(blob_directory / DIGEST)
    return blob_directory / DIGEST


def test_it_is_damaged_and_leaves_no_file_open(irregular: Path, blobs: BlobStore) -> None:
    before = open_files()
    for attempt in (blobs.get, blobs.open):
        with pytest.raises(Damaged, match=f"{DIGEST} lie in no regular file"):
            attempt(irregular.name)
    assert open_files() <= before


def test_it_is_neither_listed_nor_removed_as_a_blob(irregular: Path, blobs: BlobStore) -> None:
    assert not list(blobs.list_blobs())
    assert not blobs.delete_older(DIGEST, datetime.now(UTC))
    assert os.path.lexists(irregular)


def test_the_next_put_mends_it(irregular: Path, blobs: BlobStore) -> None:
    assert blobs.put(DATA) == DIGEST
    assert blobs.get(DIGEST) == DATA
    assert irregular.is_file()
    assert not irregular.is_symlink()


def test_a_directory_in_its_place_is_set_aside_with_what_it_holds(blobs: BlobStore, blob_directory: Path) -> None:
    make_directory(blob_directory / DIGEST)
    blobs.put(DATA)
    assert [file.read_bytes() for file in blob_directory.glob(".*.set-aside/*")] == [b"file"]


def test_a_link_in_its_place_is_replaced_and_its_target_stays(blobs: BlobStore, blob_directory: Path) -> None:
    make_link(blob_directory / DIGEST)
    blobs.put(DATA)
    assert (blob_directory.parent / "outside").read_bytes() == DATA
    assert os.lstat(blob_directory / DIGEST).st_ino != os.lstat(blob_directory.parent / "outside").st_ino


def test_a_partial_that_is_no_file_is_left_alone(blobs: BlobStore, blob_directory: Path) -> None:
    (blob_directory / ".a.partial").mkdir()
    assert blobs.sweep_partials(datetime.now(UTC)) == 0


def test_another_directory_in_the_stores_place_is_unavailable_until_it_is_put_back(
    blobs: BlobStore, blob_directory: Path
) -> None:
    """As under a mount point whose disk went away: a blob isn't damaged, and what is written there would be lost."""
    digest = blobs.put(DATA)
    elsewhere = blob_directory.rename(blob_directory.with_name("elsewhere"))
    blob_directory.mkdir()
    for attempt in (
        blobs.ping,
        lambda: blobs.get(digest),
        lambda: blobs.open(digest),
        lambda: blobs.put(b"other weights"),
        lambda: blobs.delete_older(digest, datetime.now(UTC)),
        lambda: list(blobs.list_blobs()),
        lambda: blobs.sweep_partials(datetime.now(UTC)),
    ):
        with pytest.raises(Unavailable, match="moved, removed or replaced"):
            attempt()
    assert not list(blob_directory.iterdir())

    blob_directory.rmdir()
    elsewhere.rename(blob_directory)
    assert blobs.get(digest) == DATA
