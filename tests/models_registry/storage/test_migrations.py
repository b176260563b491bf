"""Every migration with data in the tables, whatever these are: one that is added later is tested without a word."""

from argparse import Namespace
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import MetaData, Table, inspect, select
from sqlalchemy.engine import Engine

from models_registry.storage.database import MIGRATING, migrate, open_engine
from models_registry.storage.tables import Row

PYPROJECT = Path(__file__).parents[3] / "pyproject.toml"
REVISIONS = [script.revision for script in ScriptDirectory(str(PYPROJECT.parent / "alembic")).walk_revisions()][::-1]
OWN = "alembic_version"

Contents: TypeAlias = Mapping[str, list[Mapping[str, Any]]]
"""The rows of each table."""


@pytest.fixture
def engine(empty_database_url: str) -> Iterator[Engine]:
    engine = open_engine(empty_database_url, MIGRATING)
    yield engine
    engine.dispose()


@pytest.fixture
def alembic(empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> Config:
    """What `alembic -x url=… upgrade 0001` reads."""
    monkeypatch.chdir(PYPROJECT.parent)
    return Config(toml_file=PYPROJECT, cmd_opts=Namespace(x=[f"url={empty_database_url}"]))


def tables(engine: Engine) -> list[Table]:
    """As they are in the database, those that others refer to first."""
    found = MetaData()
    found.reflect(engine)
    return [table for table in found.sorted_tables if table.name != OWN]


def fill(engine: Engine, number: int) -> None:
    """A row in every table. All of its words and numbers are the same, so that it refers to the others' rows."""
    values: Mapping[type, Any] = {
        str: f"row{number}",
        int: number,
        float: float(number),
        bool: True,
        datetime: datetime(2030, 1, number),
        object: {"number": number},  # JSON
    }
    with engine.begin() as connection:
        for table in tables(engine):
            row = {column.name: values[column.type.python_type] for column in table.columns}
            if table.name == "generation":  # has its one row from the beginning
                connection.execute(table.update().values(value=number))
            else:
                connection.execute(table.insert().values(row))


def contents(engine: Engine) -> Contents:
    with engine.connect() as connection:
        return {
            table.name: [dict(row) for row in connection.execute(select(table).order_by(*table.primary_key)).mappings()]
            for table in tables(engine)
        }


def common(contents: Contents, other: Contents) -> Contents:
    """What of `contents` has a place in `other`, which has no empty tables."""
    return {
        name: [{column: row[column] for column in row if column in other[name][0]} for row in rows]
        for name, rows in contents.items()
        if name in other
    }


def columns(contents: Contents) -> Mapping[str, set[str]]:
    return {name: set(rows[0]) for name, rows in contents.items()}


@pytest.mark.parametrize("revision", REVISIONS)
def test_data_of_every_revision_goes_up_and_down_and_up_again(revision: str, engine: Engine, alembic: Config) -> None:
    command.upgrade(alembic, revision)
    fill(engine, 1)
    written = contents(engine)

    command.upgrade(alembic, "head")
    assert common(contents(engine), written) == common(written, contents(engine))
    if revision == REVISIONS[-1]:
        assert contents(engine) == written

    # Other data than was there before, also in what the later revisions have added.
    command.downgrade(alembic, "base")
    command.upgrade(alembic, "head")
    fill(engine, 2)
    newest = contents(engine)
    command.downgrade(alembic, revision)
    assert contents(engine) == common(newest, contents(engine))
    assert columns(contents(engine)) == columns(written)

    command.upgrade(alembic, "head")
    assert common(contents(engine), written) == common(newest, written)


def test_going_down_to_the_base_leaves_nothing(engine: Engine, alembic: Config) -> None:
    command.upgrade(alembic, "head")
    fill(engine, 1)
    command.downgrade(alembic, "base")
    assert inspect(engine).get_table_names() == [OWN]


def test_the_migrated_database_is_the_one_that_the_rows_describe(empty_database_url: str, engine: Engine) -> None:
    migrate(empty_database_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, Row.metadata) == []


def test_the_names_of_all_constraints_are_the_ones_that_the_rows_describe(
    empty_database_url: str, engine: Engine
) -> None:
    migrate(empty_database_url)
    for table in Row.metadata.sorted_tables:
        inspector, name = inspect(engine), table.name
        found = {inspector.get_pk_constraint(name)["name"]}
        found |= {constraint["name"] for constraint in inspector.get_foreign_keys(name)}
        found |= {constraint["name"] for constraint in inspector.get_check_constraints(name)}
        found |= {constraint["name"] for constraint in inspector.get_unique_constraints(name)}
        assert found == {constraint.name for constraint in table.constraints}
