"""All versions against all blobs: are the bytes there, and are they the right ones? What is found out is marked.

Joins what the registry says with what the store holds; knows the rows of neither.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, TypeAlias

from models_registry.errors import Damaged, NotFound, Unavailable
from models_registry.registry import Registry
from models_registry.storage.blobs import BlobStore
from models_registry.storage.digests import StoredBlob

THREADS = 4
"""As many blobs are read at a time."""

Verdict: TypeAlias = Literal["sound", "damaged", "missing", "unreadable"]


@dataclass(frozen=True, slots=True)
class CheckedBlob:
    """`references` are the versions that name the blob; `reason` says why it is unreadable, else it is empty."""

    digest: str
    references: tuple[str, ...]
    verdict: Verdict
    reason: str = ""


def references_by_digest(registry: Registry) -> Mapping[str, tuple[str, ...]]:
    """Every blob that a version names, with those versions."""
    found: dict[str, list[str]] = defaultdict(list)
    for adapter in registry.snapshot().adapters.values():
        for version in adapter.versions:
            found[version.digest].append(version.reference)
    return {digest: tuple(references) for digest, references in found.items()}


def check_blobs(
    registry: Registry, blobs: BlobStore, references: Mapping[str, tuple[str, ...]], threads: int = THREADS
) -> Iterator[CheckedBlob]:
    """Read and verify each blob of `references`, and mark it as damaged or as sound. Yields each as it is checked.

    A version that is removed meanwhile is not missed. Raises `Unavailable` if the whole store is away, `NoRoom` where
    there is none for what comes from a bucket; what was checked until then is marked.
    """

    def check(digest: str) -> CheckedBlob:
        verdict, reason = _verdict(blobs, digest)
        if verdict == "missing" and not registry.is_referenced(digest):
            verdict = "sound"  # no version names it any more, and it was collected
        elif verdict == "sound":
            registry.mark_sound(digest)
        elif verdict != "unreadable":
            registry.mark_damaged(digest)
        return CheckedBlob(digest, references[digest], verdict, reason)

    blobs.ping()
    with ThreadPoolExecutor(threads, "check") as pool:
        try:
            yield from pool.map(check, references)
        finally:
            pool.shutdown(cancel_futures=True)


def find_unreferenced(registry: Registry, blobs: BlobStore) -> tuple[StoredBlob, ...]:
    """The blobs that no version names, among them those of uploads that run just now."""
    stored = tuple(blobs.list_blobs())
    referenced = registry.referenced_digests()
    return tuple(blob for blob in stored if blob.digest not in referenced)


def _verdict(blobs: BlobStore, digest: str) -> tuple[Verdict, str]:
    try:
        blobs.open(digest).close()  # verified without being in memory, beside a service that needs this
    except NotFound:
        return "missing", ""
    except Damaged as error:
        return "damaged", f"its bytes {error.found}"
    except Unavailable as error:
        blobs.ping()  # one unreadable file is reported; a store that is away ends the check
        return "unreadable", error.detail
    return "sound", ""
