"""Which kernel adds a batch's low-rank parts: numbers that were measured, and the memory that they may cost.

*In segments*: one adapter after the other, from its own tensors. *Stacked*: all at once, from copies of their tensors
(see `stacked_lora`), which a routing's second forward makes: one forward alone would never get their price back. For
running sequences nothing is chosen: they have tables of their own (see `paged_lora`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Self

TYPICAL: Final[Mapping[int, int]] = MappingProxyType({1: 128, 4: 64, 16: 32})
"""Measured on processors with AVX-512, float32 and bfloat16, at widths of 576 to 1536 and rank 16."""


@dataclass(frozen=True, slots=True)
class KernelTable:
    """`stacked_up_to`: from so many adapters on, the most tokens of one of them at which stacking is the faster way.

    `max_stacked_bytes` bounds the copies of one routing, which end with it; `max_paged_bytes` the tables that running
    sequences share. `max_merged_bytes` bounds the copies that a model keeps of its targets with hot adapters in their
    weights (see `merged_weights_cache`); 0: it keeps none.
    """

    stacked_up_to: Mapping[int, int] = field(default_factory=lambda: TYPICAL)
    max_stacked_bytes: int = 512 << 20
    max_paged_bytes: int = 2 << 30
    max_merged_bytes: int = 0

    def stacks_up_to(self, adapters: int) -> int:
        """The most tokens (rows times a row's tokens) of one of so many adapters that are stacked; 0: none are."""
        reached = [least for least in self.stacked_up_to if least <= adapters]
        return self.stacked_up_to[max(reached)] if reached else 0


class Room:
    """What is left of bytes that copies may take."""

    def __init__(self, max_bytes: int) -> None:
        self.left = max_bytes

    def take(self, count: int) -> bool:
        """Whether so many bytes may still be copied; then they are taken."""
        fits = count <= self.left
        self.left -= count if fits else 0
        return fits

    def give(self, count: int) -> None:
        """So many that were taken are free again."""
        self.left += count


@dataclass(frozen=True, slots=True)
class Stacking:
    """One routing's use of a table: what is left of the bytes that its copies may take."""

    table: KernelTable
    room: Room

    @classmethod
    def of(cls, table: KernelTable) -> Self:
        return cls(table, Room(table.max_stacked_bytes))
