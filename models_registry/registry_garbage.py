"""Blobs that no version names any more: found, and removed beside uploads that run.

**Why no upload loses its bytes.** An upload puts its blob, then inserts the row that names it. A collection reads which
blobs are named (R), then lets the store remove each other one that is old *at that moment* (D). Take an upload whose
row R did not see, and whose blob was put before D, else the put has stored it anew.

- The row came after R, and a row follows its put within seconds, far less than the half hour that an untouched blob may
  lack to a full hour. So the put was a short while before D, or between R and D.
- Such a put left a time that is at most `REFRESHED_S` (half an hour) old, also where the bytes had lain there for weeks
  without an owner. The store looks at this time again in the same step as it removes the blob (`delete_older`), be it
  in another process: it sees a young blob and leaves it, or the put sees that the blob went and stores it anew.

So what is younger than an hour stays, and R is asked again for every few blobs. The clocks of the machines and of the
store may be minutes apart, not half an hour.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from models_registry.errors import Conflict
from models_registry.registry import Registry
from models_registry.storage.blobs import BlobStore
from models_registry.storage.digests import REFRESHED_S, StoredBlob

AGE = timedelta(seconds=2 * REFRESHED_S)
"""Younger blobs stay: their row may be about to be inserted."""

BATCH = 100


@dataclass(frozen=True, slots=True)
class Garbage:
    """`removed` holds blobs that are gone, or would be; `partials` counts what dead writers had left half written."""

    removed: tuple[StoredBlob, ...]
    partials: int

    @property
    def bytes(self) -> int:
        return sum(blob.bytes for blob in self.removed)


def collect_garbage(
    registry: Registry, blobs: BlobStore, *, age: timedelta = AGE, dry_run: bool = False, even_all: bool = False
) -> Garbage:
    """Remove what no version names and nobody has put for `age`; with `dry_run` only say what that is.

    Raises `Conflict` if no version names any blob there is, unless `even_all` says that this is meant: so does a store
    look to a registry that isn't its own. Raises `Unavailable` when a store is away; what is gone then was
    garbage, and the rest is found the next time.
    """
    before = datetime.now(UTC) - age
    referenced = registry.referenced_digests()
    stored = tuple(blobs.list_blobs())
    old = tuple(blob for blob in stored if blob.digest not in referenced and blob.modified_at <= before)
    if old and not (even_all or dry_run) and all(blob.digest not in referenced for blob in stored):
        raise Conflict(
            f"This registry names none of the {len(stored)} blobs in the store: they may be another registry's. "
            "If they are garbage nevertheless, ask again with --even-all."
        )
    if dry_run:
        return Garbage(old, 0)
    removed = tuple(blob for batch in _batches(old) for blob in _remove(registry, blobs, batch, before))
    return Garbage(removed, blobs.sweep_partials(before))


def _remove(
    registry: Registry, blobs: BlobStore, batch: tuple[StoredBlob, ...], before: datetime
) -> Iterator[StoredBlob]:
    referenced = registry.referenced_digests()
    for blob in batch:
        if blob.digest not in referenced and blobs.delete_older(blob.digest, before):
            yield blob


def _batches(all_blobs: tuple[StoredBlob, ...]) -> Iterator[tuple[StoredBlob, ...]]:
    for start in range(0, len(all_blobs), BATCH):
        yield all_blobs[start : start + BATCH]
