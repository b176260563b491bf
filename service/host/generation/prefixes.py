"""Beginnings of prompts whose keys and values are kept, because other texts may begin as they do.

A beginning is kept in chunks of `CHUNK` tokens from position 0, as they were computed: a text doesn't depend on whether
its beginning was there. It serves only texts with the same adapters, versions and weights.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

from service.host.generation.schedule import CHUNK
from service.host.generation.slots import KeyValueSlots

CompositionKey: TypeAlias = tuple[tuple[str, str, float], ...]
"""Key, digest and weight of each adapter version."""


@dataclass(frozen=True, slots=True)
class _Beginning:
    """All tokens up to the end of a chunk."""

    composition: CompositionKey
    ids: tuple[int, ...]


class Prefixes:
    """Of texts in `slots`. What was used longest ago is dropped first. Use it under `torch.inference_mode`."""

    def __init__(self, slots: KeyValueSlots) -> None:
        self._slots = slots
        self._chunks: OrderedDict[_Beginning, tuple[Tensor, ...]] = OrderedDict()
        self._max_bytes = 0
        self.bytes = 0

    def limit(self, max_bytes: int) -> None:
        """From now on they may take so many bytes."""
        self._max_bytes = max_bytes
        while self.bytes > max_bytes:
            _, chunk = self._chunks.popitem(last=False)
            self.bytes -= _bytes(chunk)

    def restore(self, slot: int, composition: CompositionKey, ids: Sequence[int]) -> int:
        """Put what is known of a prompt into `slot`, all but its last token at most. Returns how many positions."""
        known: list[_Beginning] = []
        for end in range(CHUNK, len(ids), CHUNK):
            beginning = _Beginning(composition, tuple(ids[:end]))
            if beginning not in self._chunks:
                break
            known.append(beginning)
        for place, beginning in enumerate(known):
            self._slots.write(slot, place * CHUNK, self._chunks[beginning])
        for beginning in reversed(known):  # an end is of no use without what stands before it
            self._chunks.move_to_end(beginning)
        return len(known) * CHUNK

    def keep(self, slot: int, composition: CompositionKey, ids: Sequence[int]) -> None:
        """`ids` are in `slot` now; keep their last chunk, if they end with one."""
        beginning = _Beginning(composition, tuple(ids))
        if len(ids) % CHUNK or beginning in self._chunks or CHUNK * self._slots.position_bytes > self._max_bytes:
            return
        chunk = self._slots.read(slot, len(ids) - CHUNK, len(ids))
        self._chunks[beginning] = chunk
        self.bytes += _bytes(chunk)
        self.limit(self._max_bytes)


def _bytes(chunk: Sequence[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in chunk)
