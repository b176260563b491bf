"""How blobs are named: by the sha256 of what they hold, 64 hex digits in lower case, in every store alike."""

import re
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from models_registry.errors import Damaged, NotFound

REFRESHED_S = 1800.0
"""A put of bytes that are there already renews their modification time if it is older than this."""

_DIGEST = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """What a store lists: `bytes` is the size, `modified_at` when it was last put (UTC, by the store's own clock)."""

    digest: str
    bytes: int
    modified_at: datetime


def digest_of(data: bytes | memoryview) -> str:
    return sha256(data).hexdigest()


def is_digest(name: str) -> bool:
    return _DIGEST.fullmatch(name) is not None


def require_digest(digest: str) -> str:
    """Raises `NotFound`: nothing else names a blob, and nothing else may become a path."""
    if not is_digest(digest):
        raise NotFound(f"{digest!r} is no sha256 in hex, so there is no such blob.")
    return digest


def absent(digest: str) -> NotFound:
    return NotFound(f"There is no blob sha256:{digest}.")


def verified(digest: str, data: bytes) -> bytes:
    """`data`, if it has that digest. Raises `Damaged`."""
    if digest_of(data) != digest:
        raise Damaged(digest)
    return data
