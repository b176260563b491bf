"""Blobs in a local directory: one file each, named by its whole digest, durable before `put` returns."""

import fcntl
import os
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from hashlib import file_digest
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
from models_registry.storage.files import PARTIAL, make_directory, sync_directory, translated, write_durably

_LOCK = ".lock"
BLOCK = 1 << 20
"""Bytes."""


def open_directory(directory: Path) -> "DirectoryBlobStore":
    """The store in `directory`, created if it is missing. Raises `NoRoom` or `Unavailable` if it can't be."""
    with translated(f"the blob store {directory}"):
        make_directory(directory)
    return DirectoryBlobStore(directory)


class DirectoryBlobStore:
    """A `BlobStore` of files in `directory`. Safe under threads and processes."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._name = f"the blob store {directory}"

    def put(self, data: bytes | memoryview) -> str:
        digest = digest_of(data)
        path = self._directory / digest
        with translated(self._name):
            modified = _modified_s(path)
            if modified is None:
                write_durably(path, data)
            elif time.time() - modified < REFRESHED_S and _holds(path, data):
                sync_directory(self._directory)  # whoever writes it at this moment may not have come so far
            else:
                # `delete_older` takes the lock alone: it removes the file before this looks, or sees its new time.
                with self._locked(fcntl.LOCK_SH):
                    if _holds(path, data):
                        os.utime(path)
                        sync_directory(self._directory)
                    else:
                        write_durably(path, data)
        return digest

    def get(self, digest: str) -> bytes:
        with translated(self._name):
            try:
                data = self._path(digest).read_bytes()
            except FileNotFoundError:
                self.ping()  # a directory that is away must not look like a blob that never was
                raise absent(digest) from None
        return verified(digest, data)

    def open(self, digest: str) -> BinaryIO:
        with translated(self._name), ExitStack() as opened:
            try:
                file = opened.enter_context(self._path(digest).open("rb"))
            except FileNotFoundError:
                self.ping()
                raise absent(digest) from None
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
        with translated(self._name), os.scandir(self._directory) as entries:
            for entry in entries:
                if not is_digest(entry.name):
                    continue
                try:
                    found = entry.stat()
                except FileNotFoundError:
                    continue  # removed since the directory was read
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
        if not self._directory.is_dir() or not os.access(self._directory, os.R_OK | os.W_OK | os.X_OK):
            raise Unavailable(f"Can't reach {self._name}: it is no directory that may be read and written.")

    @contextmanager
    def _locked(self, kind: int) -> Generator[None]:
        """Hold the directory's lock, `LOCK_SH` or `LOCK_EX`, between threads as well as processes."""
        descriptor = os.open(self._directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, kind)
            yield
        finally:
            os.close(descriptor)

    def _path(self, digest: str) -> Path:
        return self._directory / require_digest(digest)


def _modified_s(path: Path) -> float | None:
    """When the file was last written, in seconds since 1970; None if there is none."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return None


def _holds(path: Path, data: bytes | memoryview) -> bool:
    """Whether those very bytes are there already; a damaged blob is not, and is mended by the next put."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size != len(data):
                return False
            # A block at a time: a large blob would be in memory twice.
            parts = (bytes(data[start : start + BLOCK]) for start in range(0, len(data), BLOCK))
            return all(part == file.read(len(part)) for part in parts)
    except FileNotFoundError:
        return False
