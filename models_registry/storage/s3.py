"""Blobs in a bucket of S3, or of whatever speaks its protocol and knows conditional writes: one object each.

Knows `obstore`, whose complaints `s3_errors.py` translates. The bucket is never created here: who may read it and where
its bytes lie is for its owner to say.
"""

import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError
from obstore.store import S3Store

from models_registry.errors import Damaged, Invalid, Unavailable
from models_registry.redaction import redacted
from models_registry.storage import files
from models_registry.storage.digests import (
    REFRESHED_S,
    StoredBlob,
    absent,
    digest_of,
    is_digest,
    require_digest,
    verified,
)
from models_registry.storage.s3_errors import answer_in, translated

if TYPE_CHECKING:  # obstore has these names for type checkers only
    from obstore.store import ClientConfig, RetryConfig, S3Config

log = logging.getLogger(__name__)

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}", re.ASCII)
_ENDPOINT = re.compile(r"https?://[\w.:\[\]-]+(/\S*)?", re.ASCII)

PART_BYTES = 8 << 20
"""Larger blobs are sent in parts of this size."""

PARTS_AT_ONCE = 4

RETRIES: "RetryConfig" = {
    "max_retries": 12,
    "retry_timeout": timedelta(seconds=5),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=1), "base": 2},
}
# A large blob may take minutes, but no part of it may stand still for long.
PATIENT: "ClientConfig" = {
    "connect_timeout": timedelta(seconds=2),
    "read_timeout": timedelta(seconds=10),
    "timeout": timedelta(minutes=10),
}
HASTY: "ClientConfig" = {"connect_timeout": timedelta(seconds=2), "timeout": timedelta(seconds=2)}
ONCE: "RetryConfig" = {"max_retries": 0}

CLAIMS = ".removing"
CLAIM_S = 5.0
"""For how long after its claim a removal may begin to delete."""

ABANDONED_S = CLAIM_S + 20.0
"""How long after its claim a removal's last request has been answered or given up, however it ended."""

POLL_S = 0.05


def open_s3(url: str, endpoint: str | None) -> "S3BlobStore":
    """The store behind `s3://bucket/prefix` at `endpoint`, at AWS_ENDPOINT_URL, or at Amazon's.

    Credentials and region are those of the usual AWS variables. Raises `Invalid` for a URL or endpoint that we can't
    read, and where the bucket isn't there or refuses us. One that is away for now is no error: all but it can be
    served."""
    parts = urlsplit(url)
    if not _BUCKET.fullmatch(parts.netloc) or parts.query or parts.fragment:
        raise Invalid(f"The blob URL {redacted(repr(url))} is not s3://bucket or s3://bucket/prefix.")
    endpoint = endpoint or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint is not None and not _ENDPOINT.fullmatch(endpoint):
        shown = redacted(repr(endpoint))
        raise Invalid(f"The S3 endpoint {shown} is not an address such as https://host or http://host:port.")
    name = f"the bucket {parts.netloc!r}" + (f" at {endpoint}" if endpoint else "")

    def connect(client: "ClientConfig", retries: "RetryConfig") -> S3Store:
        # An endpoint that is written with http is meant so.
        options: ClientConfig = {**client, "allow_http": endpoint is not None and endpoint.startswith("http:")}
        config: S3Config = {"disable_bulk_delete": True}
        if endpoint is not None:
            config["endpoint"] = endpoint
        prefix = parts.path.strip("/") or None
        return S3Store(parts.netloc, prefix=prefix, config=config, client_options=options, retry_config=retries)

    with translated(name):
        store = S3BlobStore(connect(PATIENT, RETRIES), connect(HASTY, ONCE), name)
    try:
        store.ping()
    except Unavailable as error:
        answer = answer_in(error.__cause__)
        if answer is not None and answer.is_refusal:
            raise Invalid(error.detail) from error
        log.warning("%s The store is opened all the same.", error.detail)
    return store


class S3BlobStore:
    """A `BlobStore` of objects in a bucket. `probe` reaches the same place, asks once, and doesn't wait for long.

    **Removing beside puts.** S3 deletes no object on a condition, so the two look at each other's traces. A removal
    writes its claim, looks at the object's time, deletes it if that is old, and takes its claim back. A put of bytes
    that lie there renews the object's time if that is old, waits until there is no claim, and then looks whether the
    object still lies there; else it writes it anew. Reads see all earlier writes. So a removal whose claim was gone by
    then has deleted whatever it wanted to before the put's last look, and a later one sees a young object. A put that
    *made* the object needs no look: claims are exclusive, so no removal has looked at an older one that it could still
    delete. A removal that died leaves its claim, which a put waits out; one that was stopped for that long just before
    its request, and then goes on, is the one thing that this doesn't hold against.
    """

    def __init__(self, store: S3Store, probe: S3Store, name: str) -> None:
        self._store = store
        self._probe = probe
        self._name = name

    def put(self, data: bytes | memoryview) -> str:
        digest = digest_of(data)
        with translated(self._name):
            modified = self._create(digest, data)
            if modified is None:
                return digest
            if _age_s(modified) >= REFRESHED_S or not self._holds(digest, data):
                self._write(digest, data)
            self._await_removal(digest)
            if self._modified(digest) is None:
                self._write(digest, data)
        return digest

    def get(self, digest: str) -> bytes:
        with translated(self._name):
            try:
                data = obstore.get(self._store, require_digest(digest)).bytes().to_bytes()
            except FileNotFoundError:
                self.ping()  # a bucket that isn't there must not look like a blob that never was
                raise absent(digest) from None
        return verified(digest, data)

    def open(self, digest: str) -> BinaryIO:
        found = sha256()
        with _temporary_room(), ExitStack() as opened:  # in this order: closing writes what is buffered, too
            file = opened.enter_context(TemporaryFile())
            with translated(self._name):
                try:
                    for part in obstore.get(self._store, require_digest(digest)).stream(PART_BYTES):
                        found.update(part)
                        with _temporary_room():
                            file.write(part)
                except FileNotFoundError:
                    self.ping()
                    raise absent(digest) from None
            if found.hexdigest() != digest:
                raise Damaged(digest)
            file.seek(0)
            opened.pop_all()  # it is the caller's now
        return file

    def delete_older(self, digest: str, before: datetime) -> bool:
        claim = f"{CLAIMS}/{require_digest(digest)}"
        with translated(self._name):
            begun = time.monotonic()
            try:
                obstore.put(self._store, claim, b"", mode="create")
            except AlreadyExistsError:
                return False  # somebody else is at it, or died at it, which `sweep_partials` will clear up
            modified = self._modified(digest)
            removes = modified is not None and modified <= before and time.monotonic() - begun < CLAIM_S
            if removes:
                # Asked once: a second try might meet what a put has made since the first.
                obstore.delete(self._probe, digest)
            obstore.delete(self._store, claim)
        return removes

    def list_blobs(self) -> Iterator[StoredBlob]:
        with translated(self._name):
            for page in self._store.list():
                for found in page:
                    if is_digest(found["path"]):
                        yield StoredBlob(found["path"], found["size"], found["last_modified"])

    def sweep_partials(self, before: datetime) -> int:
        """Only claims: parts of an upload that died are no objects, and the bucket's own rules remove them."""
        with translated(self._name):
            found = self._store.list_with_delimiter(CLAIMS)["objects"]
            left = [claim["path"] for claim in found if claim["last_modified"] <= before]
            for path in left:
                obstore.delete(self._store, path)
        return len(left)

    def presign(self, digest: str, expires_s: int) -> str | None:
        with translated(self._name):
            return obstore.sign(self._store, "GET", require_digest(digest), timedelta(seconds=expires_s))

    def ping(self) -> None:
        """That the place can be listed shows that the bucket is there and knows us, and costs one small request."""
        with translated(self._name):
            self._probe.list_with_delimiter(CLAIMS)

    def _create(self, digest: str, data: bytes | memoryview) -> datetime | None:
        """Write an object that isn't there yet; else the time of the one that is."""
        try:
            if len(data) <= PART_BYTES:
                obstore.put(self._store, digest, data, mode="create")
                return None
        except AlreadyExistsError:
            pass
        # Parts can't be put together on a condition. No harm: another process would put together the same bytes.
        modified = self._modified(digest)
        if modified is None:
            self._write(digest, data)
        return modified

    def _write(self, digest: str, data: bytes | memoryview) -> None:
        obstore.put(self._store, digest, data, chunk_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE)

    def _await_removal(self, digest: str) -> None:
        """Return once no removal that has claimed the blob by now can still delete it."""
        claim = f"{CLAIMS}/{digest}"
        abandoned_at = time.monotonic() + ABANDONED_S
        while self._modified(claim) is not None:
            if time.monotonic() > abandoned_at:
                obstore.delete(self._store, claim)
            time.sleep(POLL_S)

    def _holds(self, digest: str, data: bytes | memoryview) -> bool:
        """Whether those very bytes are there; a damaged blob is not, and is mended by the next put."""
        try:
            return obstore.get(self._store, digest).bytes() == data
        except FileNotFoundError:
            return False

    def _modified(self, path: str) -> datetime | None:
        """When the object was last written, None if there is none."""
        try:
            return obstore.head(self._store, path)["last_modified"]
        except FileNotFoundError:
            return None


def _temporary_room() -> AbstractContextManager[None]:
    return files.translated("the directory for temporary files (TMPDIR)")


def _age_s(modified: datetime) -> float:
    return (datetime.now(UTC) - modified).total_seconds()
