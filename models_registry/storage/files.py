"""Files that survive a power loss, and the operating system's complaints in our own words.

A rename or a new name is durable only once its directory is fsynced too; a file's own fsync doesn't do that.
"""

import errno
import os
import stat
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from uuid import uuid4

from models_registry.errors import NoRoom, Unavailable

# EFBIG is what a file-size limit of the process says (`ulimit -f`).
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
PARTIAL = ".partial"
"""How the name of a file ends that is not whole yet; nobody but its writer looks at one."""
SET_ASIDE = ".set-aside"
"""How the name of a directory ends that lay where a file belongs."""


class IrregularFile(Exception):
    """There is something else than a regular file: a directory, a link, a pipe, a socket or a device."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Which file or directory lies at a path, whatever it is called: moved and put back it is the same one."""

    device: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> "Identity | None":
        """None where there is nothing, or nothing that can be looked at."""
        try:
            found = path.stat()
        except OSError:
            return None
        return cls(found.st_dev, found.st_ino)


@contextmanager
def translated(store: str) -> Generator[None]:
    """Raise `NoRoom` or `Unavailable`, naming `store`, for whatever the operating system refuses inside."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise NoRoom(f"No room left in {store} ({error.strerror}); free some space and try again.") from error
        raise Unavailable(f"Can't reach {store}: {error}. Check that it exists and may be written to.") from error


def open_regular(path: Path) -> BufferedReader:
    """Open the file for reading, never what a link leads to, and never waiting as an open pipe would.

    Raises `IrregularFile` for anything else that lies there, and `OSError`.
    """
    regular_status(path)  # a device may do something merely because it is opened
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise IrregularFile(path)
    return os.fdopen(descriptor, "rb")


def regular_status(path: Path) -> os.stat_result:
    """The file's size and times. Raises `IrregularFile`, `OSError`."""
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise IrregularFile(path)
    return found


def make_directory(path: Path) -> None:
    """Create `path` with its parents, each durable before the next. Raises `OSError`."""
    if path.is_dir():
        return
    make_directory(path.parent)
    path.mkdir(exist_ok=True)
    sync_directory(path.parent)


def write_durably(path: Path, data: bytes | memoryview) -> None:
    """Put `data` at `path`: all of it or nothing, and for good once this returns. Raises `OSError`.

    A directory that lies there is set aside under a hidden name, because nothing can take its place and what it holds
    is not ours to remove.
    """
    partial = path.with_name(f".{path.name}.{uuid4().hex}{PARTIAL}")
    try:
        with partial.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if path.is_dir() and not path.is_symlink():
            path.rename(path.with_name(f".{path.name}.{uuid4().hex}{SET_ASIDE}"))
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
