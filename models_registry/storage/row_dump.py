"""The registry's rows as lines of JSON: written from one database, read into another, whichever of the two kinds it is.

Knows every table by its columns, and none by its meaning.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import groupby, islice
from typing import Any, Final

from sqlalchemy import JSON, Column, Connection, DateTime, MetaData, Table, func, inspect, select, text
from sqlalchemy.orm import Session

from models_registry.storage.tables import Row

# A copy's bytes are verified as it is made, and a process that is not there has nothing in flight.
_LEFT_OUT: Final = frozenset({"damaged_blobs", "team_in_flight"})
_REVISION: Final = "alembic_version"
_BATCH: Final = 500
"""Rows in one statement."""


def dump_rows(session: Session) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every row with its table's name, as the session sees them; those that others refer to are first."""
    for table in Row.metadata.sorted_tables:
        if table.name in _LEFT_OUT:
            continue
        for row in session.execute(select(table).execution_options(yield_per=_BATCH)).mappings():
            yield table.name, dict(row)


def as_line(table: str, row: Mapping[str, Any]) -> str:
    """Without its line feed."""
    return json.dumps([table, {column: _written(value) for column, value in row.items()}], separators=(",", ":"))


def load_lines(connection: Connection, lines: Iterable[str]) -> None:
    """Put the rows in the place of those that a migration made. The tables have the schema of the dump, which need not
    be this code's."""
    schema = MetaData()
    schema.reflect(connection)
    for table in reversed(schema.sorted_tables):
        if table.name != _REVISION:
            connection.execute(table.delete())
    for name, rows in groupby(map(json.loads, lines), key=lambda line: line[0]):
        table = schema.tables[name]
        columns = {column.name: column for column in table.columns}
        for column in columns.values():
            if isinstance(column.type, JSON):
                column.type.none_as_null = True
        while batch := list(islice(rows, _BATCH)):
            connection.execute(
                table.insert(),
                [{key: _read(columns[key], value) for key, value in row.items()} for _, row in batch],
            )
    if connection.dialect.name == "postgresql":
        for table in schema.sorted_tables:
            _number_on(connection, table)


def is_empty(connection: Connection) -> bool:
    """Whether the database has no table at all."""
    return not inspect(connection).get_table_names()


def _number_on(connection: Connection, table: Table) -> None:
    """Rows that Postgres numbers by itself go on after those that were loaded with their numbers."""
    for column in table.primary_key.columns:
        sequence = connection.scalar(select(func.pg_get_serial_sequence(table.name, column.name)))
        if sequence is not None:
            newest = connection.scalar(select(func.max(column))) or 0
            connection.execute(
                text("SELECT setval(:sequence, :next, false)"), {"sequence": sequence, "next": newest + 1}
            )


def _written(value: Any) -> Any:
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value


def _read(column: Column[Any], value: Any) -> Any:
    return datetime.fromisoformat(value) if isinstance(column.type, DateTime) and value is not None else value
