"""The file behind a SQLite database, and whether it is still the one that was opened.

SQLite goes on with the file that it has open, wherever that was moved to and even when it was removed: whatever is
committed then is acknowledged and lost. So both ends of a session look whether the file still lies at its path.
"""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from models_registry.errors import Unavailable
from models_registry.storage.files import Identity


@dataclass(frozen=True, slots=True)
class SqliteFile:
    """`journal` holds what was committed and not yet copied into the file: without it that is lost, too. It is None
    where the file system can't do write-ahead logging."""

    path: Path
    file: Identity | None
    journal: Identity | None

    @classmethod
    def opened_by(cls, connection: Connection) -> "SqliteFile":
        """The file of `connection`, which has read something already, so that its journal is there."""
        databases = connection.exec_driver_sql("PRAGMA database_list")
        path = Path(next(file for _, name, file in databases if name == "main"))
        return cls(path, Identity.of(path), Identity.of(_journal(path)))

    def require_same(self) -> None:
        """Raise `Unavailable` unless file and journal are those that were opened."""
        if Identity.of(self.path) != self.file or Identity.of(_journal(self.path)) != self.journal:
            raise Unavailable(
                f"The database {self.path} was moved, removed or replaced while it was open, so that nothing is read "
                "from it or written to it. Put it back, or restart the service to use what lies there now."
            )


def _journal(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")
