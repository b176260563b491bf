"""The registry's database: sessions, the two dialects' differences, and its schema's revision.

Knows SQLAlchemy and Alembic, but no table's meaning. Every error of the driver is raised as one of ours.
"""

import sqlite3
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from urllib.parse import unquote, urlsplit

import psycopg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from opentelemetry.trace import Tracer
from sqlalchemy import URL, Connection, Engine, create_engine, event, func, make_url, select
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as NoConnection
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from models_registry.errors import Conflict, Invalid, NoRoom, RegistryError, Unavailable
from models_registry.redaction import redacted
from models_registry.storage.files import make_directory, translated
from models_registry.storage.query_spans import trace_queries
from models_registry.storage.sqlite_file import SqliteFile
from models_registry.storage.writer_turns import TOO_LONG, WriterTurns

SCRIPTS = Path(__file__).parents[2] / "alembic"

BUSY_SECONDS = 30
# FULL: a commit survives a power loss, not only a crash.
SERVING = {"busy_timeout": str(BUSY_SECONDS * 1000), "synchronous": "FULL", "foreign_keys": "ON"}
# Alembic changes a SQLite table by copying and dropping it; enforced foreign keys would delete what refers to it.
MIGRATING = SERVING | {"foreign_keys": "OFF"}
# Seconds and milliseconds after which a server that doesn't answer is away; without them a lost one is waited for long.
PATIENCE: Mapping[str, str] = {"connect_timeout": "5", "tcp_user_timeout": "10000"}
# All writers wait for one lock (`registry.py`): who is stopped while he holds it loses it, who waits for it gives up.
BOUNDED = "SET LOCAL idle_in_transaction_session_timeout = '60s'; SET LOCAL lock_timeout = '30s'"
MIGRATION_LOCK = 0x61646170
"""Any number will do, as long as every version of this code has the same."""


class Database:
    """Sessions on one database. Safe under threads; a session belongs to the thread that opened it."""

    def __init__(self, reads: Engine, writes: Engine, file: SqliteFile | None = None) -> None:
        self._reads = reads
        self._writes = writes
        self._file = file
        self._turns = WriterTurns(BUSY_SECONDS)

    @property
    def waiting_writers(self) -> int:
        """Threads of this process that wait for another one's change to end."""
        return self._turns.waiting

    @contextmanager
    def read(self) -> Generator[Session]:
        """A session that sees one moment of the database. Raises `Unavailable`."""
        self._require_same_file()
        with translated_errors(), Session(self._reads) as session:
            yield session

    @contextmanager
    def write(self) -> Generator[Session]:
        """A session that commits at the end, or changes nothing. Raises `Conflict`, `NoRoom`, `Unavailable`."""
        self._require_same_file()
        with self._turns.take(), translated_errors(), Session(self._writes) as session, session.begin():
            yield session
            self._require_same_file()  # what is committed to a file that was moved away is lost

    def close(self) -> None:
        self._reads.dispose()
        self._writes.dispose()
        if self._file is not None:
            self._file.close()

    def _require_same_file(self) -> None:
        if self._file is not None:
            self._file.require_same()


def open_database(url: str, tracer: Tracer | None = None) -> Database:
    """The database at `url` (`sqlite:///path` or `postgresql://…`), which must be at this code's schema. With a
    `tracer` its statements are spans.

    Raises `Conflict` if its schema is older or newer, `Invalid` for a URL we can't read, `NoRoom`, `Unavailable`.
    """
    engine = open_engine(url, SERVING)
    if tracer is not None:
        trace_queries(engine, tracer)
    try:
        with translated_errors(), engine.connect() as connection:
            current, head = _revisions(connection)
        if current != head:
            state = f"is at schema {current}" if current else "is empty"
            raise Conflict(
                f"The database {state}, this code needs schema {head}; run `adapterctl migrate`, or `serve --migrate`."
            )
        if engine.dialect.name == "sqlite":
            with translated_errors():
                file = SqliteFile.opened_by(engine)
            return Database(reads=engine, writes=engine.execution_options(sqlite_begin="BEGIN IMMEDIATE"), file=file)
    except RegistryError:
        engine.dispose()
        raise
    return Database(
        reads=engine.execution_options(isolation_level="REPEATABLE READ"),
        writes=engine.execution_options(isolation_level="READ COMMITTED", postgres_begin=BOUNDED),
    )


def migrate(url: str) -> None:
    """Bring the database at `url` to this code's schema: all the steps or none. Creates a SQLite file if missing.

    Raises `Conflict` if its schema is newer than the code, `Invalid` for a URL we can't read, `NoRoom`, `Unavailable`.
    """
    with begin_migration(url) as connection:
        upgrade(connection)


@contextmanager
def begin_migration(url: str) -> Generator[Connection]:
    """A transaction that may change the schema, one at a time; committed at the end. Raises as `migrate`."""
    engine = open_engine(url, MIGRATING).execution_options(sqlite_begin="BEGIN IMMEDIATE")
    try:
        with translated_errors(), engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                # As BEGIN IMMEDIATE on SQLite: of several that start at once the second waits, and finds it done.
                connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
            _revisions(connection)
            yield connection
    finally:
        engine.dispose()


def upgrade(connection: Connection, to: str = "head") -> None:
    """Within `begin_migration`. Raises `Conflict` if this code doesn't know the schema `to`."""
    config = _alembic()
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, to)
    except CommandError as error:
        raise Conflict(f"This code doesn't know the schema {to}: {error}. Use the version that wrote it.") from error


def read_schema(url: str) -> str | None:
    """The revision that the database at `url` has; None where it has none. Raises `Conflict` if it is newer than the
    code, `Invalid` for a URL we can't read, `Unavailable`."""
    engine = open_engine(url, SERVING)
    try:
        with translated_errors(), engine.connect() as connection:
            return _revisions(connection)[0]
    finally:
        engine.dispose()


def newest_schema() -> str:
    """The revision that this code needs."""
    head = ScriptDirectory.from_config(_alembic()).get_current_head()
    assert head
    return head


def open_engine(url: str, pragmas: Mapping[str, str]) -> Engine:
    """An engine as both dialects need it; `pragmas` are for SQLite. Raises `Invalid`, `NoRoom`, `Unavailable`."""
    address = _address(url)
    if address.drivername != "sqlite":
        patience = {key: value for key, value in PATIENCE.items() if key not in address.query}
        engine = create_engine(address, pool_pre_ping=True, connect_args=patience, hide_parameters=True)

        @event.listens_for(engine, "begin")
        def bound(connection: Connection) -> None:
            if first := connection.get_execution_options().get("postgres_begin"):
                connection.exec_driver_sql(first)

        return engine
    with translated(f"the database {address.database}"):
        make_directory(_path_in(address).absolute().parent)
    # The driver itself never begins a transaction, so that `begin` below decides which kind it is.
    engine = create_engine(address, connect_args={"isolation_level": None}, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def configure(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        for pragma, value in pragmas.items():
            cursor.execute(f"PRAGMA {pragma} = {value}")
        _write_ahead(cursor)
        cursor.close()

    # A writer that begins as a reader can't wait for another writer: SQLite answers "database is locked" at once.
    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get("sqlite_begin", "BEGIN"))

    return engine


def sqlite_path(url: str) -> Path | None:
    """The file of a SQLite database, whether it is there or not; None for Postgres. Raises `Invalid`."""
    address = _address(url)
    return _path_in(address) if address.drivername == "sqlite" else None


@contextmanager
def translated_errors() -> Generator[None]:
    """Raise our errors in the place of the driver's; a wrong statement stays what it is, a bug of ours."""
    try:
        yield
    except IntegrityError as error:
        raise Conflict("The registry was changed at the same moment; look at it again and retry.") from error
    except (ProgrammingError, DataError):
        raise
    except DBAPIError as error:
        if _is(error.orig, sqlite3.SQLITE_FULL, psycopg.errors.DiskFull):
            raise NoRoom("No room left in the database; nothing changed. Free some space and try again.") from error
        if _is(error.orig, sqlite3.SQLITE_BUSY, psycopg.errors.LockNotAvailable):
            raise Unavailable(TOO_LONG) from error
        raise Unavailable(f"The database is away: {redacted(str(error.orig))}") from error
    except NoConnection as error:
        raise Unavailable("Every connection to the database is in use; try again.") from error


def _write_ahead(cursor: DBAPICursor) -> None:
    """Keep a SQLite file's journal as WAL, in which readers and the writer don't wait for each other.

    SQLite waits for nobody here, whatever its `busy_timeout`: the statement reads before it writes, and of two that
    did so none can go on. Only the first start of several at once meets that; so we wait ourselves.
    """
    given_up = monotonic() + BUSY_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if not _is_sqlite(error, sqlite3.SQLITE_BUSY) or monotonic() > given_up:
                raise
            sleep(0.01)
        else:
            return


def _is(error: BaseException | None, in_sqlite: int, in_postgres: type[psycopg.Error]) -> bool:
    return _is_sqlite(error, in_sqlite) or isinstance(error, in_postgres)


def _is_sqlite(error: BaseException | None, kind: int) -> bool:
    """Whether SQLite gave `error`, of this kind; what Python's driver itself raises has no code."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF == kind  # the other bits say on which occasion


def _address(url: str) -> URL:
    try:
        address = make_url(url)
    except (ArgumentError, ValueError):  # their words quote parts of the password, where it holds `@` or `:`
        message = (
            "The database URL can't be read; use sqlite:///PATH or postgresql://…, with `@`, `:`, `/` and `?` in a "
            "password written as %40, %3A, %2F and %3F."
        )
        raise Invalid(message) from None
    if address.drivername == "sqlite" and address.database not in {None, "", ":memory:"}:
        return address
    if address.drivername in {"postgresql", "postgresql+psycopg"}:
        return address.set(drivername="postgresql+psycopg")
    raise Invalid(f"The database URL {redacted(repr(address))} is neither sqlite:///PATH nor postgresql://….")


def _path_in(address: URL) -> Path:
    """SQLite also takes `file:` and a path with `?uri=true`."""
    name = address.database or ""
    return Path(unquote(urlsplit(name).path) if name.startswith("file:") else name)


def _alembic() -> Config:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    return config


def _revisions(connection: Connection) -> tuple[str | None, str | None]:
    """The database's revision and the code's newest. Raises `Conflict` if the code doesn't know the database's."""
    scripts = ScriptDirectory.from_config(_alembic())
    current, head = MigrationContext.configure(connection).get_current_revision(), scripts.get_current_head()
    if current is not None and current not in {script.revision for script in scripts.walk_revisions()}:
        raise Conflict(
            f"The database's schema {current} is newer than this code, whose newest is {head}; "
            "nothing was changed. Start the newer version of the service that wrote it."
        )
    return current, head
