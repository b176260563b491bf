"""Blobs in a local directory: one file each, named by its whole digest, durable before `put` returns."""

import fcntl
import os
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from hashlib import file_digest
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from models_registry.errors import Damaged, Unavailable
from models_registry.storage.digests import (
    REFRESHED_S,
    StoredBlob,
    absent,
    digest_of,
    is_digest,
    require_digest,
    verified,
)
from models_registry.storage.files import (
    PARTIAL,
    Identity,
    IrregularFile,
    make_directory,
    open_regular,
    regular_status,
    sync_directory,
    translated,
    write_durably,
)

_LOCK = ".lock"
BLOCK = 1 << 20
"""Bytes."""
IRREGULAR = "lie in no regular file"


def open_directory(directory: Path) -> "DirectoryBlobStore":
    """The store in `directory`, created if it is missing. Raises `NoRoom` or `Unavailable` if it can't be."""
    with translated(f"the blob store {directory}"):
        make_directory(directory)
    return DirectoryBlobStore(directory)


class DirectoryBlobStore:
    """A `BlobStore` of files in `directory`. Safe under threads and processes.

    A blob is a regular file: what else lies under its name (a link, a pipe, a directory) is damaged, and is neither
    followed nor waited for. The store is the directory that was opened: another one in its place, as where a disk is
    no longer mounted, makes it unavailable.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._name = f"the blob store {directory}"
        self._identity = Identity.of(directory)

    def put(self, data: bytes | memoryview) -> str:
        digest = digest_of(data)
        path = self._directory / digest
        with translated(self._name):
            self._require_same()
            modified = _modified_s(path)
            if modified is None:
                write_durably(path, data)
            elif time.time() - modified < REFRESHED_S and _holds(path, data):
                sync_directory(self._directory)  # another writer of it may not have synced yet
            else:
                # `delete_older` takes the lock alone: it removes the file before this looks, or sees its new time.
                with self._locked(fcntl.LOCK_SH):
                    if _holds(path, data):
                        os.utime(path)
                        sync_directory(self._directory)
                    else:
                        write_durably(path, data)
            self._require_same()  # it may have been replaced while this wrote
        return digest

    def get(self, digest: str) -> bytes:
        with self._opened(digest) as file, translated(self._name):
            data = file.read()
        return verified(digest, data)

    def open(self, digest: str) -> BinaryIO:
        with ExitStack() as opened, translated(self._name):
            file = opened.enter_context(self._opened(digest))
            if file_digest(file, "sha256").hexdigest() != digest:
                raise Damaged(digest)
            file.seek(0)
            opened.pop_all()  # it is the caller's now
        return file

    def delete_older(self, digest: str, before: datetime) -> bool:
        path = self._path(digest)
        with translated(self._name), self._locked(fcntl.LOCK_EX):
            modified = _modified_s(path)
            if modified is None or modified > before.timestamp():
                return False
            path.unlink()
        return True

    def list_blobs(self) -> Iterator[StoredBlob]:
        self._require_same()
        with translated(self._name), os.scandir(self._directory) as entries:
            for entry in entries:
                if not is_digest(entry.name):
                    continue
                try:
                    found = regular_status(Path(entry.path))
                except (FileNotFoundError, IrregularFile):
                    continue  # removed since the directory was read, or nothing that was ever put
                yield StoredBlob(entry.name, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))

    def sweep_partials(self, before: datetime) -> int:
        self.ping()
        swept = 0
        with translated(self._name):
            for path in self._directory.glob(f".*{PARTIAL}"):
                modified = _modified_s(path)
                if modified is not None and modified <= before.timestamp():
                    path.unlink(missing_ok=True)
                    swept += 1
        return swept

    def presign(self, digest: str, expires_s: int) -> str | None:
        return None

    def ping(self) -> None:
        self._require_same()
        if not self._directory.is_dir() or not os.access(self._directory, os.R_OK | os.W_OK | os.X_OK):
            raise Unavailable(f"Can't reach {self._name}: it is no directory that may be read and written.")

    def _opened(self, digest: str) -> BufferedReader:
        path = self._path(digest)
        with translated(self._name):
            try:
                return open_regular(path)
            except FileNotFoundError:
                self.ping()  # a directory that is away must not look like a blob that never was
                raise absent(digest) from None
            except IrregularFile:
                raise Damaged(digest, IRREGULAR) from None

    def _require_same(self) -> None:
        """Raise `Unavailable` unless the directory is the one that was opened."""
        if Identity.of(self._directory) != self._identity:
            raise Unavailable(
                f"Can't reach {self._name}: it was moved, removed or replaced. Put it back, or restart the service "
                "to use what lies there now."
            )

    @contextmanager
    def _locked(self, kind: int) -> Generator[None]:
        """Hold the directory's lock, `LOCK_SH` or `LOCK_EX`, between threads as well as processes."""
        self._require_same()
        descriptor = os.open(self._directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, kind)
            yield
        finally:
            os.close(descriptor)

    def _path(self, digest: str) -> Path:
        return self._directory / require_digest(digest)


def _modified_s(path: Path) -> float | None:
    """When the file was last written, in seconds since 1970; None if there is no regular one."""
    try:
        return regular_status(path).st_mtime
    except (FileNotFoundError, IrregularFile):
        return None


def _holds(path: Path, data: bytes | memoryview) -> bool:
    """Whether those very bytes are there already; a damaged blob is not, and is mended by the next put."""
    try:
        with open_regular(path) as file:
            if os.fstat(file.fileno()).st_size != len(data):
                return False
            # A block at a time: a large blob would be in memory twice.
            parts = (bytes(data[start : start + BLOCK]) for start in range(0, len(data), BLOCK))
            return all(part == file.read(len(part)) for part in parts)
    except (FileNotFoundError, IrregularFile):
        return False
