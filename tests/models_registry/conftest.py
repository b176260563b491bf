"""A registry on each database that we support, empty for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from models_registry.registry import Registry
from models_registry.storage.blobs import BlobStore, open_blob_store
from models_registry.storage.database import Database, migrate, open_database


@pytest.fixture(params=["sqlite"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an empty database is, or will be once something is written to it."""
    match request.param:
        case "sqlite":
            return f"sqlite:///{tmp_path}/var/registry.db"
        case unknown:
            raise ValueError(f"No database called {unknown!r}.")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    migrate(database_url)
    database = open_database(database_url)
    yield database
    database.close()


@pytest.fixture
def blob_directory(tmp_path: Path) -> Path:
    return tmp_path / "blobs"


@pytest.fixture
def blobs(blob_directory: Path) -> BlobStore:
    return open_blob_store(f"file:{blob_directory}")


@pytest.fixture
def registry(database: Database, blobs: BlobStore) -> Registry:
    return Registry(database, blobs)
