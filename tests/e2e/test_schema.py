"""A service whose database isn't at its schema ends, and says in one line what to do."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from databases import Postgres
from e2e.process import BIN, PATIENCE_S, Service
from sqlalchemy import text

from models_registry.storage.database import MIGRATING, open_engine


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path, tmp_path / "no-models")
    yield service
    service.close()


def refused(service: Service, database_url: str) -> str:
    """What is said by a service that should not start on this database."""
    ended = subprocess.run(
        [BIN / "adapterctl", "serve"],
        cwd=service.directory,
        env={**service.environment, "ADAPTER_SERVICE_DATABASE_URL": database_url},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert ended.returncode != 0
    assert "Traceback" not in ended.stderr
    return ended.stderr


def test_a_database_at_a_newer_schema_is_refused_and_left_as_it_is(service: Service, database_url: str) -> None:
    engine = open_engine(database_url, MIGRATING)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    assert "9999 is newer than this code" in refused(service, database_url)

    with engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all() == ["9999"]
    engine.dispose()


def test_an_empty_postgres_is_not_migrated_unasked(service: Service, postgres: Postgres) -> None:
    with postgres.database() as url:
        assert "is empty" in (said := refused(service, url))
        assert "run `adapterctl migrate`, or `serve --migrate`" in said
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT 1 FROM pg_tables WHERE schemaname = 'public'").fetchall() == []
