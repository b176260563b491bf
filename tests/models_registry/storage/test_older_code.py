"""What the code of released schemas says to its database works on the newest one, with the answers that it had: old
processes go on beside the migration, until new ones take their places.

Where one of these fails after a migration, docs/operations/upgrades.md says how to divide it.
"""

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any

import pytest
from alembic.script import ScriptDirectory
from databases import sqlite_url
from record_statements import record
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session
from statements import RECORDED, file_of, read, say_again, texts

from models_registry.errors import Conflict
from models_registry.storage import (
    access_rows,
    adapter_rows,
    adapter_search,
    alias_count_rows,
    alias_history,
    alias_rows,
    base_model_rows,
    creation_keys,
    damage,
    events,
    reading,
    row_dump,
    snapshots,
    stored_bytes,
    team_quotas,
    team_removal,
    team_spending_rows,
    usage_rows,
)
from models_registry.storage.database import migrate, newest_schema, open_database
from models_registry.storage.tables import Row

SPEAKING = (
    *(access_rows, adapter_rows, adapter_search, alias_count_rows, alias_history, alias_rows, base_model_rows),
    *(creation_keys, damage, events, reading, row_dump, snapshots, stored_bytes, team_quotas, team_removal),
    *(team_spending_rows, usage_rows),
)
"""The modules that say something to a session."""
FIRST = "0014"
"""What older code says was never recorded."""
ROOT = Path(__file__).parents[3]
SCRIPTS = ScriptDirectory(str(ROOT / "alembic"))
RELEASED = sorted({file.name.split(".")[0] for file in RECORDED.iterdir()})
DIVIDE = (
    "Old processes say this beside the newest schema. Expand now: add, and let old statements work. Contract in a "
    "later version, once nobody says it any more: docs/operations/upgrades.md#expand-then-contract"
)


def functions_of(module: ModuleType) -> Iterator[tuple[str, CodeType]]:
    """Its functions that are given a session, by name."""
    for name, function in inspect.getmembers(module, inspect.isfunction):
        first = next(iter(inspect.signature(function).parameters.values()), None)
        if function.__module__ == module.__name__ and first is not None and first.annotation is Session:
            yield f"{module.__name__.rpartition('.')[2]}.{name}", inspect.unwrap(function).__code__


def wrong_answers(url: str, file: Path) -> list[str]:
    said = say_again(url, read(file))
    return [f"{one.sql}\n  {one.answer} -> {answer}" for one, answer in said if one.answer != answer]


@pytest.mark.parametrize("revision", RELEASED)
def test_old_code_gets_the_answers_that_it_had_from_the_newest_schema(
    revision: str, database_url: str, dialect: str
) -> None:
    wrong = wrong_answers(database_url, file_of(revision, dialect))
    assert not wrong, f"What code of schema {revision} says. {DIVIDE}\n" + "\n".join(wrong[:5])


def test_what_this_code_says_is_recorded(database_url: str, dialect: str, tmp_path: Path) -> None:
    found, kept = texts(record(database_url, tmp_path)), texts(read(file_of(newest_schema(), dialect)))
    assert found == kept, "Statements have changed: `make statements` records them."


def test_the_schema_before_the_newest_has_its_statements(dialect: str) -> None:
    before = SCRIPTS.get_revision(newest_schema()).down_revision
    needed = [revision for revision in (newest_schema(), before) if isinstance(revision, str) and revision >= FIRST]
    missing = [revision for revision in needed if not file_of(revision, dialect).exists()]
    assert missing == [], "Record them where that schema is the newest: check out the commit, `make statements`."


def test_the_story_calls_every_function_that_has_a_session(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "registry.db")
    migrate(url)
    called = set[CodeType]()

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            called.add(frame.f_code)

    sys.setprofile(note)
    try:
        record(url, tmp_path)
    finally:
        sys.setprofile(None)
    all_of_them = {name: code for module in SPEAKING for name, code in functions_of(module)}
    assert len(all_of_them) > 50
    assert [name for name, code in all_of_them.items() if code not in called] == []


def test_every_module_with_a_session_is_looked_at() -> None:
    folder = ROOT / "models_registry" / "storage"
    speaking = {path.stem for path in folder.glob("*.py") if "session: Session" in path.read_text()}
    assert {module.__name__.rpartition(".")[2] for module in SPEAKING} == speaking


def test_the_story_writes_every_table(dialect: str) -> None:
    said = " ".join(texts(read(file_of(newest_schema(), dialect))))
    seeded = {"generation"}  # by the first migration
    assert [t for t in Row.metadata.tables if t not in seeded and f"INSERT INTO {t} " not in said] == []


@pytest.mark.parametrize(
    "contraction",
    [
        "ALTER TABLE keys RENAME COLUMN last_used_at TO used_at",
        "ALTER TABLE team_levels RENAME TO levels",
        "CREATE UNIQUE INDEX one ON usage (team)",
    ],
)
def test_a_contraction_is_found(contraction: str, database_url: str, dialect: str) -> None:
    engine = create_engine(database_url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        connection.execute(text(contraction))
    engine.dispose()
    assert wrong_answers(database_url, file_of(newest_schema(), dialect))


def test_an_expansion_is_fine(database_url: str, dialect: str) -> None:
    engine = create_engine(database_url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE adapters ADD COLUMN colour VARCHAR(8)"))
        connection.execute(text("ALTER TABLE keys ADD COLUMN uses INTEGER NOT NULL DEFAULT 0"))
        connection.execute(text("CREATE TABLE colours (name VARCHAR(8) PRIMARY KEY)"))
    engine.dispose()
    assert wrong_answers(database_url, file_of(newest_schema(), dialect)) == []


def test_old_code_that_has_the_database_open_works_on_beside_a_migration(
    database_url: str, dialect: str, tmp_path: Path
) -> None:
    """And never opens it again: it doesn't know what the newer schema means."""
    engine = create_engine(database_url.replace("postgresql:", "postgresql+psycopg:"))
    database = open_database(database_url)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE adapters ADD COLUMN colour VARCHAR(8)"))
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with database.read() as session:
        assert snapshots.read_generation(session) == 0
    with database.write() as session:
        access_rows.add_team(session, "risk", access_rows.TeamLimits())
    database.close()
    with pytest.raises(Conflict, match="9999 is newer than this code"):
        open_database(database_url)
