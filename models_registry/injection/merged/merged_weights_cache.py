"""Which compositions of adapters are hot, and their merged copies: within a bound of memory, the least recently used
composition is evicted first.

A routing finds the copies that were there before it began. Some more are made between two routings of a hot
composition, so that none waits noticeably.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from torch import nn

from models_registry.adapters.folded import Folded

CompositionKey: TypeAlias = tuple[tuple[str, float], ...]

HOT_AFTER: Final = 8
"""So many routings in a row must want one composition for all that they compute."""
BYTES_AT_ONCE: Final = 32 << 20
"""How much is merged before one routing, at most."""
MOST_MIXTURES: Final = 64
"""So many are remembered, also of those that can't be merged and take no memory: there is no end of weights."""


@dataclass(frozen=True, slots=True)
class MergedLayer:
    """`copy`, of so many bytes, has `made_of` in its weight; None: they can't be merged there."""

    made_of: tuple[Folded, ...]
    copy: nn.Module | None
    bytes: int

    def is_of(self, parts: Sequence[Folded]) -> bool:
        """Whether these very objects are in it, and not others that have replaced them."""
        return len(parts) == len(self.made_of) and all(a is b for a, b in zip(parts, self.made_of, strict=True))


Merged: TypeAlias = Mapping[str, MergedLayer]
"""By target."""


class Layer(Protocol):
    """A target that compositions can be merged at."""

    def merge_bytes(self, composition: CompositionKey) -> int:
        """What `merge` would take; 0: the composition can't be merged here."""
        ...

    def merge(self, composition: CompositionKey) -> MergedLayer:
        """Have a copy made, or say that there can't be one."""
        ...


class MergedWeightsCache:
    """Those of one model. Any thread may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._copies: dict[CompositionKey, dict[str, MergedLayer]] = {}  # in order of last use, oldest first
        self._last: CompositionKey = ()
        self._times = 0

    @property
    def bytes(self) -> int:
        with self._lock:
            return self._bytes()

    def record(self, composition: CompositionKey, layers: Mapping[str, Layer], max_bytes: int) -> Merged:
        """A routing wants `composition` for all that it computes; `layers` are where it acts. Returns its copies, with
        some new ones if it is hot; not more than `max_bytes` for all compositions."""
        with self._lock:
            self._times = self._times + 1 if composition == self._last else 1
            self._last = composition
            copies = self._copies.pop(composition, {})
            if copies or self._is_hot:
                self._copies[composition] = copies
                if len(self._copies) > MOST_MIXTURES:
                    del self._copies[next(iter(self._copies))]
            if self._is_hot:
                self._merge_some(composition, layers, max_bytes)
            return {target: merged for target, merged in copies.items() if merged.copy is not None}

    def interrupt(self) -> None:
        """A routing wants something else."""
        with self._lock:
            self._last, self._times = (), 0

    def forget(self, adapter: str) -> None:
        """It was removed or changed."""
        with self._lock:
            for key in [key for key in self._copies if adapter in dict(key)]:
                del self._copies[key]

    def clear(self) -> bool:
        """Give all of the memory back. Whether there was something that took it, or was to take it just now."""
        with self._lock:
            had_some = self._bytes() > 0 or self._is_hot
            self._copies.clear()
            self._last, self._times = (), 0
            return had_some

    @property
    def _is_hot(self) -> bool:
        return bool(self._last) and self._times > HOT_AFTER

    def _merge_some(self, composition: CompositionKey, layers: Mapping[str, Layer], max_bytes: int) -> None:
        left = BYTES_AT_ONCE
        copies = self._copies[composition]
        for target, layer in layers.items():
            if target in copies:
                continue
            size = layer.merge_bytes(composition)
            if left <= 0 or not self._make_room(size, composition, max_bytes):
                break
            # Also where the composition can't be merged: so that nobody asks again.
            copies[target] = layer.merge(composition)
            left -= size

    def _make_room(self, size: int, wanting: CompositionKey, max_bytes: int) -> bool:
        """Whether so many bytes more fit, once compositions that were used longer ago are evicted."""
        while self._bytes() + size > max_bytes:
            coldest = next((key for key in self._copies if key != wanting), None)
            if coldest is None:
                return False
            del self._copies[coldest]
        return True

    def _bytes(self) -> int:
        return sum(merged.bytes for copies in self._copies.values() for merged in copies.values())
