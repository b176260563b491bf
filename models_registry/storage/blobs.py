"""Content-addressed bytes: a blob's name is the sha256 of what it holds, so it can be wrong but never stale.

Knows nothing of adapters or rows. The registry puts a blob before the row that names it.
"""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol

from models_registry.errors import Invalid
from models_registry.redaction import redacted
from models_registry.storage.digests import StoredBlob
from models_registry.storage.directory import open_directory
from models_registry.storage.s3 import open_s3


class BlobStore(Protocol):
    """Where blobs lie. Digests are hex sha256. Safe under threads and processes.

    Every method raises `Unavailable` while the store is away.

    **What a collection of garbage beside running uploads rests on**: when `put` returns, the blob's modification time
    is at most `REFRESHED_S` old, also where the bytes had lain there for long; and `delete_older` either sees what such
    a put has done, or the put sees that the blob is gone and writes it anew.
    """

    def put(self, data: bytes | memoryview) -> str:
        """Store `data` for good and return its digest. What lies there damaged is mended.

        Raises `NoRoom`; then nothing changed.
        """
        ...

    def get(self, digest: str) -> bytes:
        """The bytes, verified. Raises `NotFound`, or `Damaged` if they don't have that digest."""
        ...

    def open(self, digest: str) -> BinaryIO:
        """The same bytes as a file of the operating system's, verified, at its beginning, for those who pass on more
        than they want in memory. The caller closes it. Raises as `get`, and `NoRoom` where it is fetched first.
        """
        ...

    def delete_older(self, digest: str, before: datetime) -> bool:
        """Remove the blob unless it was put after `before`, also by a put that runs just now. Whether it was removed.

        `before` lies at least twice `REFRESHED_S` ago.
        """
        ...

    def list_blobs(self) -> Iterator[StoredBlob]:
        """Every blob, in no order. One that is put or removed meanwhile may be listed or not."""
        ...

    def sweep_partials(self, before: datetime) -> int:
        """Remove what writers that died before `before` left half written. How many there were."""
        ...

    def presign(self, digest: str, expires_s: int) -> str | None:
        """A URL from which anybody may read the blob for `expires_s` seconds; None where the store has no URLs.

        Whether there is such a blob is not looked up.
        """
        ...

    def ping(self) -> None:
        """Return if blobs can be read and written now."""
        ...


def open_blob_store(url: str, s3_endpoint: str | None = None) -> BlobStore:
    """The store behind `url`: `file:` and a directory, relative or absolute, or `s3://bucket/prefix`.

    A directory is created if it is missing; a bucket is not. `s3_endpoint` is for S3 that isn't Amazon's. Raises
    `Invalid` for a URL we can't read or a bucket that refuses us, `NoRoom` or `Unavailable` for a directory that can't
    be created.
    """
    scheme, _, rest = url.partition(":")
    if scheme == "s3":
        return open_s3(url, s3_endpoint)
    path = rest.removeprefix("//")
    if scheme != "file" or not path:
        raise Invalid(f"The blob URL {redacted(repr(url))} is neither file:DIRECTORY nor s3://bucket/prefix.")
    return open_directory(Path(path).absolute())
