"""Content-addressed bytes: a blob's name is the sha256 of what it holds, so it can be wrong but never stale.

Knows nothing of adapters or rows. The registry puts a blob before the row that names it.
"""

import os
import re
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from models_registry.errors import Damaged, Invalid, NotFound, Unavailable, Unsupported
from models_registry.storage.files import make_directory, sync_directory, translated, write_durably


class BlobStore(Protocol):
    """Where blobs lie. Digests are hex sha256. Every method raises `Unavailable` while the store is away."""

    def put(self, data: bytes) -> str:
        """Store `data` for good and return its digest. Raises `NoRoom`; then nothing changed."""
        ...

    def get(self, digest: str) -> bytes:
        """The bytes, verified. Raises `NotFound`, or `Damaged` if they don't have that digest."""
        ...

    def exists(self, digest: str) -> bool:
        """Whether a blob lies under that digest; its bytes are not read."""
        ...

    def delete(self, digest: str) -> None:
        """Remove the blob; it is no error if there is none."""
        ...

    def ping(self) -> None:
        """Return if blobs can be read and written now."""
        ...


def open_blob_store(url: str) -> BlobStore:
    """The store behind `url`: `file:` and a directory, relative or absolute, created if it is missing.

    Raises `Invalid` for a URL we can't read, `Unsupported` for `s3:`, `NoRoom` or `Unavailable` if it can't be created.
    """
    scheme, _, rest = url.partition(":")
    if scheme == "s3":
        raise Unsupported(f"The blob URL {url!r} asks for S3, which is not supported yet; use file:DIRECTORY.")
    path = rest.removeprefix("//")
    if scheme != "file" or not path:
        raise Invalid(f"The blob URL {url!r} is not file:DIRECTORY.")
    directory = Path(path).absolute()
    with translated(f"the blob store {directory}"):
        make_directory(directory)
    return DirectoryBlobStore(directory)


class DirectoryBlobStore:
    """One file a blob in `directory`, named by its whole digest. Safe under threads and processes."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._name = f"the blob store {directory}"

    def put(self, data: bytes) -> str:
        digest = sha256(data).hexdigest()
        with translated(self._name):
            if self._holds(digest, data):
                sync_directory(self._directory)  # whoever writes it at this moment may not have come so far
            else:
                write_durably(self._directory / digest, data)
        return digest

    def get(self, digest: str) -> bytes:
        with translated(self._name):
            try:
                data = self._path(digest).read_bytes()
            except FileNotFoundError:
                self.ping()  # a directory that is away must not look like a blob that never was
                raise NotFound(f"There is no blob sha256:{digest}.") from None
        if sha256(data).hexdigest() != digest:
            raise Damaged(digest)
        return data

    def exists(self, digest: str) -> bool:
        self.ping()
        return self._path(digest).is_file()

    def delete(self, digest: str) -> None:
        with translated(self._name):
            self._path(digest).unlink(missing_ok=True)
            sync_directory(self._directory)

    def ping(self) -> None:
        if not self._directory.is_dir() or not os.access(self._directory, os.R_OK | os.W_OK | os.X_OK):
            raise Unavailable(f"Can't reach {self._name}: it is no directory that may be read and written.")

    def _holds(self, digest: str, data: bytes) -> bool:
        """Whether those very bytes are there already; a damaged blob is not, and is mended by the next put."""
        try:
            return (self._directory / digest).read_bytes() == data
        except FileNotFoundError:
            return False

    def _path(self, digest: str) -> Path:
        if not re.fullmatch("[0-9a-f]{64}", digest):
            raise NotFound(f"{digest!r} is no sha256 in hex, so there is no such blob.")
        return self._directory / digest
