"""A registry on each database that we support, empty for each test.

SQLite needs nothing. Postgres is tested too where `TEST_POSTGRES_URL` names a server on which databases may be created.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url

from models_registry.registry import Registry
from models_registry.storage.blobs import BlobStore, open_blob_store
from models_registry.storage.database import Database, migrate, open_database

POSTGRES = os.environ.get("TEST_POSTGRES_URL")


@pytest.fixture(params=["sqlite", "postgres"] if POSTGRES else ["sqlite"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where an empty database is, or will be once something is written to it."""
    if request.param == "sqlite" or POSTGRES is None:
        yield f"sqlite:///{tmp_path}/var/registry.db"
        return
    name = f"test_{uuid4().hex}"
    with psycopg.connect(POSTGRES, autocommit=True) as server:
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield make_url(POSTGRES).set(database=name).render_as_string(hide_password=False)
        server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


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
