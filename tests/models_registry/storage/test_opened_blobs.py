"""Blobs as files, for those who pass on more than they want in memory, on a directory and on a real S3."""

import os
from hashlib import sha256

import obstore
import pytest
from obstore.store import ObjectStore
from open_files import open_files

from models_registry.errors import Damaged, NotFound
from models_registry.storage import s3
from models_registry.storage.blobs import BlobStore, open_blob_store

LARGE = bytes(range(256)) * (s3.PART_BYTES * 3 // 2 // 256)


@pytest.fixture
def store(blob_url: str) -> BlobStore:
    return open_blob_store(blob_url)


@pytest.mark.parametrize("data", [b"", b"weights", LARGE])
def test_an_opened_blob_is_a_file_at_its_beginning(store: BlobStore, data: bytes) -> None:
    with store.open(store.put(data)) as file:
        assert file.read() == data
        assert os.fstat(file.fileno()).st_size == len(data)


@pytest.mark.parametrize("damaged", [b"", b"weighty", b"weights and more"])
def test_damaged_bytes_are_named_and_leave_no_file_open(store: BlobStore, raw: ObjectStore, damaged: bytes) -> None:
    digest = store.put(b"weights")
    obstore.put(raw, digest, damaged)
    before = open_files()
    with pytest.raises(Damaged, match=digest):
        store.open(digest)
    assert open_files() <= before


@pytest.mark.parametrize("digest", [sha256(b"never stored").hexdigest(), "../secret"])
def test_what_was_never_stored_is_not_found(store: BlobStore, digest: str) -> None:
    with pytest.raises(NotFound):
        store.open(digest)


def test_an_opened_blob_stays_what_it_was(store: BlobStore, raw: ObjectStore) -> None:
    with store.open(digest := store.put(b"weights")) as file:
        obstore.delete(raw, digest)
        assert file.read() == b"weights"
