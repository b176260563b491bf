"""A registry on each database that we support, empty for each test."""

from pathlib import Path

import pytest

from models_registry.access import Access
from models_registry.registry import Registry
from models_registry.storage.blobs import BlobStore, open_blob_store
from models_registry.storage.database import Database


@pytest.fixture
def blob_directory(tmp_path: Path) -> Path:
    return tmp_path / "blobs"


@pytest.fixture
def blobs(blob_directory: Path) -> BlobStore:
    return open_blob_store(f"file:{blob_directory}")


@pytest.fixture
def registry(database: Database, blobs: BlobStore) -> Registry:
    return Registry(database, blobs)


@pytest.fixture
def access(database: Database) -> Access:
    return Access(database)
