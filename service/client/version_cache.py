"""Pulled versions in a directory, each by what it is: the digest of its weights and that of its config.

An entry is whole or not there, its weights have the digest that the service registered, and all entries together stay
below a size. An entry that this process has handed out stays: who got it may read it again at any time.
"""

import asyncio
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from service.client.asynchronous import AsyncClient
from service.client.checkpoints import CONFIG, WEIGHTS
from service.client.records import Version

PEFT_PREFIX = "base_model.model."
_METADATA = "__metadata__"
_BLOCK = 1 << 20


class NotVerified(Exception):
    """What was pulled isn't what the service registered: the way there, or the service's store, is damaged."""


class NoRoom(Exception):
    """The version doesn't fit beside those that are in use. Raise the cache's limit."""


class VersionCache:
    def __init__(self, directory: Path, max_bytes: int) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._handed_out = set[Path]()

    async def fetch(self, client: AsyncClient, version: Version) -> Path:
        """The directory of this version, as PEFT saves it. Raises `NotVerified`, `NoRoom`, and what the client does."""
        config = await client.adapters.config(version.reference)
        place = self._directory / _name_of(version, json.dumps(config, sort_keys=True))
        if not place.is_dir():
            await asyncio.to_thread(self._make_room, version.bytes)
            partial = self._directory / f".partial-{uuid4().hex}"
            try:
                await client.adapters.pull(version.reference, partial)
                await asyncio.to_thread(_verify, partial / WEIGHTS, version)
                _publish(partial, place)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        self._handed_out.add(place)
        os.utime(place)  # the latest use
        return place

    def _make_room(self, needed: int) -> None:
        """Evict what was used longest ago."""
        self._directory.mkdir(parents=True, exist_ok=True)
        entries = {one: _size(one) for one in self._directory.iterdir() if (one / CONFIG).is_file()}
        free = self._max_bytes - needed - sum(entries.values())
        for entry in sorted(entries.keys() - self._handed_out, key=lambda one: one.stat().st_mtime):
            if free >= 0:
                return
            shutil.rmtree(entry)
            free += entries[entry]
        if free < 0:
            raise NoRoom(
                f"{needed} bytes are {-free} more than there is room for in {self._directory}, whose limit is "
                f"{self._max_bytes} bytes, beside {len(self._handed_out)} versions in use."
            )


def _name_of(version: Version, config: str) -> str:
    return f"{version.digest.removeprefix('sha256:')}-{hashlib.sha256(config.encode()).hexdigest()[:16]}"


def _publish(partial: Path, place: Path) -> None:
    try:
        partial.rename(place)
    except OSError:
        if not place.is_dir():  # else somebody else was faster, with the same bytes
            raise


def _verify(weights: Path, version: Version) -> None:
    with weights.open("rb") as file:
        digest = hashlib.sha256(_stored_header(file))
        while block := file.read(_BLOCK):
            digest.update(block)
    found = f"sha256:{digest.hexdigest()}"
    if found != version.digest:
        raise NotVerified(f"The weights of {version.reference} have the digest {found}, not {version.digest}.")


def _stored_header(file: BinaryIO) -> bytes:
    """The header of the file as the service stores it: the same one without PEFT's prefix on each key."""
    size = int.from_bytes(file.read(8), "little")
    entries = json.loads(file.read(size))
    stored = {key if key == _METADATA else key.removeprefix(PEFT_PREFIX): entry for key, entry in entries.items()}
    text = json.dumps(stored, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _size(entry: Path) -> int:
    return sum(file.stat().st_size for file in entry.iterdir())
