"""The file behind a SQLite database, and whether it is still the one that was opened.

SQLite goes on with the file that it has open, wherever that was moved to and even when it was removed: whatever is
committed then is acknowledged and lost. So both ends of a session look whether the file still lies at its path.

The last connection that is closed removes the journal, and the next one makes another, which looks like a replaced
file. So one connection, which nothing else uses and no disk error can close, stays open as long as the database is.
"""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Engine

from models_registry.errors import Unavailable
from models_registry.storage.files import Identity


@dataclass(frozen=True, slots=True)
class SqliteFile:
    """`journal` holds what was committed and not yet copied into the file: without it that is lost, too. It is None
    where the file system can't do write-ahead logging."""

    path: Path
    file: Identity | None
    journal: Identity | None
    keeper: Connection
    """The connection that keeps the journal in its place."""

    @classmethod
    def opened_by(cls, engine: Engine) -> "SqliteFile":
        """The file that `engine` has open. Raises what SQLAlchemy does."""
        keeper = engine.connect()
        keeper.detach()  # the pool neither lends nor counts it
        try:
            keeper.exec_driver_sql("SELECT count(*) FROM sqlite_master").all()  # who has read has the journal open
            databases = keeper.exec_driver_sql("PRAGMA database_list").all()
            path = Path(next(file for _, name, file in databases if name == "main"))
            keeper.rollback()  # an open transaction would keep the journal from being copied into the file
        except BaseException:
            keeper.close()
            raise
        return cls(path, Identity.of(path), Identity.of(_journal(path)), keeper)

    def close(self) -> None:
        """Once nothing else has the file open."""
        self.keeper.close()

    def require_same(self) -> None:
        """Raise `Unavailable` unless file and journal are those that were opened."""
        if Identity.of(self.path) != self.file or Identity.of(_journal(self.path)) != self.journal:
            raise Unavailable(
                f"The database {self.path} was moved, removed or replaced while it was open, so that nothing is read "
                "from it or written to it. Put it back, or restart the service to use what lies there now."
            )


def _journal(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")
