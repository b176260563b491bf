import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier

import pytest
from databases import Postgres
from sqlalchemy import select, text, update

from models_registry.errors import Conflict, Invalid, NoRoom, Unavailable
from models_registry.storage.database import MIGRATING, SERVING, Database, migrate, open_database, open_engine
from models_registry.storage.tables import AdapterRow, EventRow, GenerationRow

PYPROJECT = Path(__file__).parents[3] / "pyproject.toml"


def generation_of(database: Database) -> int:
    with database.read() as session:
        return session.scalars(select(GenerationRow.value)).one()


def raise_generation(database: Database) -> None:
    with database.write() as session:
        session.execute(update(GenerationRow).values(value=GenerationRow.value + 1))


# ---- the schema ---------------------------------------------------------------------------------------------------


def test_migrating_twice_keeps_the_data(empty_database_url: str) -> None:
    migrate(empty_database_url)
    database = open_database(empty_database_url)
    raise_generation(database)
    migrate(empty_database_url)

    assert generation_of(database) == 1
    database.close()


def test_a_database_at_a_newer_schema_than_the_code_is_refused_and_left_as_it_is(empty_database_url: str) -> None:
    migrate(empty_database_url)
    engine = open_engine(empty_database_url, MIGRATING)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(Conflict, match="9999 is newer than this code"):
        open_database(empty_database_url)
    with pytest.raises(Conflict, match="9999 is newer than this code"):
        migrate(empty_database_url)

    with engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all() == ["9999"]
    engine.dispose()


def test_an_empty_database_is_refused_until_it_was_migrated(empty_database_url: str) -> None:
    with pytest.raises(Conflict, match="run `adapterctl migrate`"):
        open_database(empty_database_url)

    migrate(empty_database_url)
    open_database(empty_database_url).close()


def test_many_may_migrate_the_same_empty_database_at_once(empty_database_url: str) -> None:
    start = Barrier(4)

    def run() -> None:
        start.wait()
        migrate(empty_database_url)

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(run) for _ in range(4)]:
            done.result()

    database = open_database(empty_database_url)
    assert generation_of(database) == 0
    database.close()


def test_a_file_that_another_process_is_making_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other, ThreadPoolExecutor(1) as pool:
        other.execute("BEGIN IMMEDIATE")
        migrating = pool.submit(migrate, f"sqlite:///{path}")
        with pytest.raises(TimeoutError):
            migrating.result(0.5)
        other.execute("ROLLBACK")
        migrating.result()

    open_database(f"sqlite:///{path}").close()


# ---- sessions -----------------------------------------------------------------------------------------------------


def test_a_session_that_fails_changes_nothing(database: Database) -> None:
    def change_and_fail() -> None:
        with database.write() as session:
            session.execute(update(GenerationRow).values(value=7))
            raise KeyError("on the way")

    with pytest.raises(KeyError):
        change_and_fail()
    assert generation_of(database) == 0


def test_a_reader_sees_one_moment_while_others_write(database: Database) -> None:
    with database.read() as session:
        before = session.scalars(select(GenerationRow.value)).one()
        raise_generation(database)
        session.expire_all()
        assert session.scalars(select(GenerationRow.value)).one() == before

    assert generation_of(database) == before + 1


def test_writers_that_read_first_wait_for_each_other(database: Database) -> None:
    start = Barrier(8)

    def read_then_write(_: int) -> None:
        start.wait()
        for _ in range(10):
            with database.write() as session:
                row = session.get_one(GenerationRow, 1, with_for_update=True)
                row.value += 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(read_then_write, range(8)))

    assert generation_of(database) == 80


def test_a_row_that_refers_to_nothing_is_a_conflict(database: Database) -> None:
    with pytest.raises(Conflict), database.write() as session:
        session.execute(
            text(
                "INSERT INTO adapters (name, model, created_at, last_version) VALUES ('tone', 'none', '2030-01-01', 0)"
            )
        )

    with database.read() as session:
        assert session.scalars(select(AdapterRow)).all() == []


# ---- SQLite alone -------------------------------------------------------------------------------------------------


def test_sqlite_commits_survive_a_power_loss(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path}/registry.db", SERVING)
    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar_one() == 2  # FULL
    engine.dispose()


def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/registry.db"
    migrate(url)
    engine = open_engine(url, SERVING | {"max_page_count": "40"})
    database = Database(reads=engine, writes=engine.execution_options(sqlite_begin="BEGIN IMMEDIATE"))
    detail = {"": "x" * 200_000}
    big = EventRow(generation=1, kind="big", subject="big", at=datetime(2030, 1, 1, tzinfo=UTC), detail=detail)
    with pytest.raises(NoRoom, match="nothing changed"), database.write() as session:
        session.add(big)

    with database.read() as session:
        assert session.scalars(select(EventRow)).all() == []
    raise_generation(database)
    database.close()


def test_who_waits_for_a_writer_of_sqlite_gives_up_after_a_while(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/registry.db"
    migrate(url)
    engine = open_engine(url, SERVING | {"busy_timeout": "50"})
    with closing(Database(reads=engine, writes=engine.execution_options(sqlite_begin="BEGIN IMMEDIATE"))) as database:
        with database.write() as session:
            session.execute(update(GenerationRow).values(value=7))
            with pytest.raises(Unavailable, match="Another change takes very long"):
                raise_generation(database)
        assert generation_of(database) == 7


def test_a_file_that_is_no_database_is_unavailable_and_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "registry.db"
    file.write_bytes(b"a letter, not a database" * 100)

    for attempt in (migrate, open_database):
        with pytest.raises(Unavailable, match="not a database"):
            attempt(f"sqlite:///{file}")
    assert file.read_bytes() == b"a letter, not a database" * 100


@pytest.mark.parametrize("url", ["", "registry.db", "sqlite://", "sqlite:///:memory:", "mysql://host/registry"])
def test_a_url_we_cannot_read_is_refused(url: str) -> None:
    with pytest.raises(Invalid, match="sqlite:///PATH"):
        open_database(url)


def test_postgres_is_spoken_to_through_psycopg() -> None:
    engine = open_engine("postgresql://someone@/registry?host=/run/postgresql", SERVING)

    assert engine.dialect.driver == "psycopg"
    assert engine.url.query == {"host": "/run/postgresql"}


# ---- Postgres alone -----------------------------------------------------------------------------------------------


def test_who_waits_for_a_writer_gives_up_after_a_while(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models_registry.storage.database.BOUNDED", "SET LOCAL lock_timeout = '50ms'")
    with (
        postgres.migrated_database() as url,
        closing(open_database(url)) as database,
        closing(open_database(url)) as other,
    ):
        with database.write() as session:
            session.execute(update(GenerationRow).values(value=7))
            with pytest.raises(Unavailable, match="Another change takes very long"):
                raise_generation(other)
        assert generation_of(database) == 7


def test_a_writer_that_is_stopped_loses_its_place_to_the_next(
    postgres: Postgres,
) -> None:
    with (
        postgres.migrated_database() as url,
        closing(open_database(url)) as database,
        closing(open_database(url)) as other,
    ):
        before = generation_of(database)

        def stop_midway() -> None:
            with database.write() as session:
                session.execute(update(GenerationRow).values(value=99))
                bound = session.execute(text("SHOW idle_in_transaction_session_timeout")).scalar_one()
                assert bound == "1min"
                # Shorter, but only from here on: on a busy machine a writer may pause that long before its statement.
                session.execute(text("SET LOCAL idle_in_transaction_session_timeout = '50ms'"))
                raise_generation(other)  # waits until the server has ended the other's session

        with pytest.raises(Unavailable):
            stop_midway()
        assert generation_of(database) == before + 1


def test_what_an_address_says_of_tls_reaches_the_driver() -> None:
    engine = open_engine("postgresql://me@host/db?sslmode=verify-full&sslrootcert=/ca.pem", {})
    _, given = engine.dialect.create_connect_args(engine.url)
    assert (given["sslmode"], given["sslrootcert"]) == ("verify-full", "/ca.pem")
