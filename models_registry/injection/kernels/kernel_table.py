"""Which kernel adds a batch's low-rank parts: numbers that were measured, and the memory that they may cost.

*In segments*: one adapter after the other, from its own tensors. *Stacked*: all at once, from copies of their tensors
(see `stacks`), which a routing's second forward makes: one forward alone would never get their price back.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

TYPICAL: Final[Mapping[int, int]] = MappingProxyType({1: 128, 4: 64, 16: 32})
"""Measured on processors with AVX-512, float32 and bfloat16, at widths of 576 to 1536 and rank 16."""


@dataclass(frozen=True, slots=True)
class KernelTable:
    """`stacked_up_to`: from so many adapters on, the most tokens of one of them at which stacking is the faster way.

    `max_stacked_bytes` bounds the copies of one routing, which end with it. `max_merged_bytes` bounds those that a
    model keeps of its targets with hot adapters in their weights (see `hot`); 0: it keeps none.
    """

    stacked_up_to: Mapping[int, int] = field(default_factory=lambda: TYPICAL)
    max_stacked_bytes: int = 512 << 20
    max_merged_bytes: int = 0

    def stacks_up_to(self, adapters: int) -> int:
        """The most tokens (rows times a row's tokens) of one of so many adapters that are stacked; 0: none are."""
        reached = [least for least in self.stacked_up_to if least <= adapters]
        return self.stacked_up_to[max(reached)] if reached else 0


class Stacking:
    """One routing's use of a table: what is left of the bytes that its copies may take."""

    def __init__(self, table: KernelTable) -> None:
        self.table = table
        self._room = table.max_stacked_bytes

    def take(self, count: int) -> bool:
        """Whether so many bytes may still be copied."""
        fits = count <= self._room
        self._room -= count if fits else 0
        return fits
