"""One process serves from a SQLite file: each keeps the registry in memory and its own counters, and two would pay for
every change twice. Postgres is for several. The lock is beside the file; what only reads or repairs asks for none.
"""

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from models_registry.errors import Conflict
from models_registry.storage.database import sqlite_path
from models_registry.storage.files import make_directory, translated

_SUFFIX = ".serving"


@contextmanager
def serving_lock(url: str) -> Generator[None]:
    """Hold the SQLite file at `url` for this process, until it ends in whatever way. Nothing for Postgres.

    Raises `Conflict` if another process holds it, `Invalid` for a URL we can't read, `NoRoom`, `Unavailable`.
    """
    file = sqlite_path(url)
    if file is None:
        yield
        return
    file = file.resolve()  # links to one file are one file
    lock = file.with_name(file.name + _SUFFIX)
    with translated(f"the database {file}"):
        make_directory(file.parent)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        _hold(descriptor, file)
        yield
    finally:
        os.close(descriptor)


def _hold(descriptor: int, file: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
        raise Conflict(
            f"Another process (number {holder}) serves from the database {file} already. Stop it, give this one a "
            "database of its own, or use Postgres, from which any number may serve."
        ) from None
    os.truncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
