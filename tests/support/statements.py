"""What the code of one schema says to its database, kept in a file, and said again to a database of a later one.

An old process goes on beside the migration to the next schema, so all that it says has to work there, with the same
answers. Files lie in tests/data/statements, by revision and dialect; `make statements` writes those of this code.
"""

import json
import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias

from psycopg.types.json import Json
from sqlalchemy import Engine, event
from sqlalchemy.engine import Connection

from models_registry.storage.database import SERVING, open_engine

RECORDED = Path(__file__).parents[1] / "data" / "statements"
SAID = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")
"""What a statement of ours begins with; what else is said opens a transaction."""
OF_THE_SCHEMA = ("alembic_version", "sqlite_master")
"""Whoever opens a database asks for its schema, which is another one later."""
RETURNED = re.compile(r"(?<=RETURNING )(.*)")
TIME = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d.*")

Transaction: TypeAlias = "list[Statement]"


@dataclass(frozen=True, slots=True)
class Statement:
    """`parameters` are of one execution or a list of several; `answer` is made of the rows that come back, without
    their order and times, or counts those that were changed."""

    sql: str
    parameters: Any
    answer: str = ""

    @property
    def several(self) -> bool:
        first = self.parameters[0] if isinstance(self.parameters, list) and self.parameters else None
        return isinstance(first, list | tuple | dict)


@contextmanager
def recorded() -> Generator[list[Transaction]]:
    """What all databases that are opened inside are told, by transactions that weren't taken back."""
    done: list[Transaction] = []
    open_ones: dict[int, Transaction] = {}

    def begin(connection: Connection) -> None:
        open_ones[id(connection)] = []

    def say(connection: Connection, _: Any, sql: str, parameters: Any, *_more: Any) -> None:
        if sql.startswith(SAID) and not any(table in f"{sql}{parameters}" for table in OF_THE_SCHEMA):
            open_ones[id(connection)].append(Statement(sql, parameters))

    def commit(connection: Connection) -> None:
        done.append(open_ones.pop(id(connection)))

    def rollback(connection: Connection) -> None:
        said = open_ones.pop(id(connection), [])
        # A session that only read ends so. What was written and taken back is written again by nobody.
        done.append([statement for statement in said if statement.sql.startswith("SELECT")])

    listeners = {"begin": begin, "after_cursor_execute": say, "commit": commit, "rollback": rollback}
    for name, listener in listeners.items():
        event.listen(Engine, name, listener)
    try:
        yield done
    finally:
        for name, listener in listeners.items():
            event.remove(Engine, name, listener)
        done[:] = [transaction for transaction in done if transaction]


def say_again(url: str, transactions: list[Transaction]) -> Iterator[tuple[Statement, str]]:
    """Each statement with the answer that it gets from the database at `url` now, or the driver's error in its place,
    which ends its transaction."""
    engine = open_engine(url, SERVING)
    try:
        for transaction in transactions:
            with engine.connect() as connection:
                for statement in transaction:
                    try:
                        yield statement, _answer(connection, statement)
                    except Exception as error:  # of the driver, whichever it is
                        yield statement, f"{type(error).__name__}: {error}"
                        break
                else:
                    connection.commit()
    finally:
        engine.dispose()


def texts(transactions: list[Transaction]) -> set[str]:
    """What is said, each in one line. SQLAlchemy names the columns that a removal gives back in any order."""
    said = {" ".join(statement.sql.split()) for transaction in transactions for statement in transaction}
    return {RETURNED.sub(lambda columns: ", ".join(sorted(columns[1].split(", "))), text) for text in said}


def file_of(revision: str, dialect: str) -> Path:
    return RECORDED / f"{revision}.{dialect}.jsonl"


def without_repetitions(transactions: list[Transaction]) -> list[Transaction]:
    """Every write, because others build on it, and the first read of each kind."""
    seen, kept = set[str](), list[Transaction]()
    for transaction in transactions:
        left = [said for said in transaction if not said.sql.startswith("SELECT") or said.sql not in seen]
        seen |= {statement.sql for statement in left}
        kept.append(left)
    return [transaction for transaction in kept if transaction]


def write(file: Path, transactions: list[Transaction]) -> None:
    """A line for each statement, an empty one between transactions."""
    lines = [
        "\n".join(json.dumps(asdict(said), default=_written) for said in transaction) for transaction in transactions
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n\n".join(lines) + "\n", encoding="utf-8")


def read(file: Path) -> list[Transaction]:
    return [
        [Statement(**json.loads(line, object_hook=_read)) for line in transaction.splitlines()]
        for transaction in file.read_text(encoding="utf-8").strip().split("\n\n")
    ]


def _answer(connection: Connection, statement: Statement) -> str:
    several = statement.parameters if statement.several else [statement.parameters]
    parameters = [one if isinstance(one, dict) else tuple(one) for one in several]
    result = connection.exec_driver_sql(statement.sql, parameters if statement.several else parameters[0])
    if not result.returns_rows:
        return "" if statement.several else f"{result.rowcount} changed"
    rows = sorted(json.dumps([_without_times(value) for value in row], default=str, sort_keys=True) for row in result)
    return f"{len(rows)} rows {sha256(''.join(rows).encode()).hexdigest()[:12]}"


def _without_times(value: Any) -> Any:
    """Some are of the moment at which a database is made."""
    if isinstance(value, datetime) or (isinstance(value, str) and TIME.fullmatch(value)):
        return "a time"
    return value


def _written(value: Any) -> Any:
    match value:
        case datetime():
            return {"__time__": value.astimezone(UTC).isoformat()}
        case Json():
            return {"__json__": value.obj}
        case _:
            raise TypeError(f"a parameter of the type {type(value).__name__} can't be kept")


def _read(found: dict[str, Any]) -> Any:
    if "__time__" in found:
        return datetime.fromisoformat(found["__time__"])
    if "__json__" in found:
        return Json(found["__json__"])
    return found
