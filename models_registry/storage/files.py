"""Files that survive a power loss, and the operating system's complaints in our own words.

A rename or a new name is durable only once its directory is fsynced too; a file's own fsync doesn't do that.
"""

import errno
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from models_registry.errors import NoRoom, Unavailable

# EFBIG is what a file-size limit of the process says (`ulimit -f`).
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
PARTIAL = ".partial"
"""How the name of a file ends that is not whole yet; nobody but its writer looks at one."""


@contextmanager
def translated(store: str) -> Generator[None]:
    """Raise `NoRoom` or `Unavailable`, naming `store`, for whatever the operating system refuses inside."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise NoRoom(f"No room left in {store} ({error.strerror}); free some space and try again.") from error
        raise Unavailable(f"Can't reach {store}: {error}. Check that it exists and may be written to.") from error


def make_directory(path: Path) -> None:
    """Create `path` with its parents, each durable before the next. Raises `OSError`."""
    if path.is_dir():
        return
    make_directory(path.parent)
    path.mkdir(exist_ok=True)
    sync_directory(path.parent)


def write_durably(path: Path, data: bytes | memoryview) -> None:
    """Put `data` at `path`: all of it or nothing, and for good once this returns. Raises `OSError`."""
    partial = path.with_name(f".{path.name}.{uuid4().hex}{PARTIAL}")
    try:
        with partial.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make the names in `path` durable. Raises `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
