"""A version's bytes, read by their digest."""

from collections.abc import Callable
from typing import TypeAlias

from models_registry.errors import Conflict, Damaged, NotFound
from models_registry.records import AdapterVersion, Architecture

ReadBlob: TypeAlias = Callable[[str], bytes]
"""The bytes of a digest (hex), verified. Raises `NotFound`, `Damaged`, `Unavailable`."""


def read_fitting(read_blob: ReadBlob, architecture: Architecture, version: AdapterVersion) -> bytes:
    """Raises `Conflict` where the version was made for other weights of the base model, `Damaged` where its bytes are
    gone or are not what was stored."""
    if version.fingerprint != architecture.fingerprint:
        raise Conflict(
            f"{version.reference} was made for other weights of the base model {version.model!r}: for "
            f"{version.fingerprint}, while those in memory are {architecture.fingerprint}. It can't answer with them."
        )
    try:
        return read_blob(version.digest)
    except NotFound as error:
        raise Damaged(version.digest, "are gone") from error
