"""A SQLite file that is taken away while it is open: nothing is acknowledged, nothing that isn't there is read."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from databases import sqlite_url, write_migrated
from sqlalchemy import select, update

from models_registry.errors import Unavailable
from models_registry.storage.database import Database, open_database
from models_registry.storage.tables import GenerationRow


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_migrated(tmp_path / "registry.db")
    return tmp_path / "registry.db"


@pytest.fixture
def opened(file: Path) -> Iterator[Database]:
    database = open_database(sqlite_url(file))
    yield database
    database.close()


def generation_of(database: Database) -> int:
    with database.read() as session:
        return session.scalars(select(GenerationRow.value)).one()


def raise_generation(database: Database) -> None:
    with database.write() as session:
        session.execute(update(GenerationRow).values(value=GenerationRow.value + 1))


def lose_connection(database: Database) -> None:
    """As SQLAlchemy drops a connection whose rollback fails too: it is the only one in the pool."""
    with database.read() as session:
        session.connection().invalidate()


def replace(file: Path) -> None:
    """As a backup is put in its place."""
    copy = file.with_name("copy")
    shutil.copyfile(file, copy)
    copy.replace(file)


TAKEN = {
    "moved": lambda file: file.rename(file.with_name("elsewhere")),
    "removed": lambda file: file.unlink(),
    "replaced": replace,
    "without its journal": lambda file: file.with_name("registry.db-wal").unlink(),
    "with its directory": lambda file: shutil.rmtree(file.parent),
}


@pytest.mark.parametrize("how", TAKEN)
def test_nothing_is_read_or_written_once_the_file_is_not_the_one_that_was_opened(
    how: str, file: Path, opened: Database
) -> None:
    raise_generation(opened)
    TAKEN[how](file)
    for attempt in (generation_of, raise_generation):
        with pytest.raises(Unavailable, match=f"{file} was moved, removed or replaced"):
            attempt(opened)


def test_what_is_written_while_the_file_is_moved_is_not_acknowledged(file: Path, opened: Database) -> None:
    elsewhere = file.with_name("elsewhere")

    def write() -> None:
        with opened.write() as session:
            session.execute(update(GenerationRow).values(value=GenerationRow.value + 1))
            file.rename(elsewhere)

    with pytest.raises(Unavailable):
        write()
    elsewhere.rename(file)
    assert generation_of(opened) == 0


def test_a_file_that_is_put_back_is_used_again(file: Path, opened: Database) -> None:
    raise_generation(opened)
    elsewhere = file.rename(file.with_name("elsewhere"))
    with pytest.raises(Unavailable):
        generation_of(opened)
    elsewhere.rename(file)
    raise_generation(opened)
    assert generation_of(opened) == 2


@pytest.mark.parametrize(
    "turn", [lambda file: f"sqlite:///{file.name}", lambda file: f"sqlite:///file:{file}?uri=true"]
)
def test_the_file_is_known_however_its_url_is_written(
    turn: Callable[[Path], str], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    database = open_database(turn(file))
    monkeypatch.chdir("/")
    assert generation_of(database) == 0
    TAKEN["moved"](file)
    with pytest.raises(Unavailable):
        generation_of(database)
    database.close()


def test_other_connections_that_come_and_go_do_not_disturb_it(file: Path, opened: Database) -> None:
    for _ in range(3):
        open_database(sqlite_url(file)).close()
        raise_generation(opened)
    assert generation_of(opened) == 3


def test_a_connection_that_is_lost_does_not_read_as_a_replaced_file(file: Path, opened: Database) -> None:
    for count in (1, 2):
        raise_generation(opened)
        lose_connection(opened)
        assert generation_of(opened) == count
    TAKEN["replaced"](file)
    with pytest.raises(Unavailable, match="was moved, removed or replaced"):
        raise_generation(opened)


def test_closing_leaves_one_whole_file_and_no_journal(file: Path) -> None:
    database = open_database(sqlite_url(file))
    raise_generation(database)
    assert file.with_name("registry.db-wal").exists()
    database.close()
    assert [path.name for path in file.parent.iterdir()] == ["registry.db"]


def test_what_was_committed_is_copied_into_the_file_while_it_is_open(file: Path, opened: Database) -> None:
    raise_generation(opened)
    with closing(sqlite3.connect(file)) as other:
        assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0)
    raise_generation(opened)
