"""The next position of each of some texts: in which slabs they lie, where the keys and values of their tokens go."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from service.host.generation.slots import KeptSlab, KeyValueSlots, SlotLayer


@dataclass(frozen=True, slots=True)
class Part:
    """The texts in the first rooms of a slab, of which each row of the step's has one. `positions` [texts] are where
    their tokens are; 0 for texts that get none, whose rooms aren't among those `written`."""

    slab: KeptSlab
    written: Tensor
    positions: Tensor


class Step:
    """`rows` rows: those of the texts in the first slots, at these `positions`, and behind them nobody's."""

    def __init__(self, slots: KeyValueSlots, positions: Sequence[int], rows: int, device: torch.device) -> None:
        self._device = device
        for slot, position in enumerate(positions):
            slots.hold(slot, position + 1)
        slabs = [slab for slab in slots.used_slabs if any(slot < len(positions) for slot in slab.slots)]
        placed = [slot for slab in slabs for slot in slab.slots]
        places = {slot: place for place, slot in enumerate(placed)}
        self.parts: Final = tuple(self._part_of(slab, positions) for slab in slabs)
        self.positions: Final = self._tensor([*positions, *[0] * (rows - len(positions))])
        self.rows: Final = self._tensor([slot if slot < len(positions) else 0 for slot in placed])
        """Of each text of the parts; any row of one that gets no token."""
        self.places: Final = self._tensor([places.get(row, 0) for row in range(rows)])
        """Of each row among the texts of the parts; any place of nobody's row."""
        self._written = self._tensor([slot for slot in placed if slot < len(positions)])
        self._lines: dict[int, tuple[Tensor, ...]] = {}

    def put(self, layer: SlotLayer, keys: Tensor, values: Tensor) -> None:
        """`keys` and `values` [rows, heads, 1, width] of the tokens."""
        for at, new in enumerate((keys, values)):
            heads, width = new.shape[1], new.shape[3]
            lines = new.index_select(0, self._written).reshape(-1, width)
            start = 0
            for part, own in zip(self.parts, self._lines_of(heads), strict=True):
                kept = layer.kept_in(part.slab)[at]
                kept.view(-1, width).index_copy_(0, own, lines[start : start + len(own)])
                start += len(own)

    def _part_of(self, slab: KeptSlab, positions: Sequence[int]) -> Part:
        written = [room for room, slot in enumerate(slab.slots) if slot < len(positions)]
        looked = [positions[slot] if slot < len(positions) else 0 for slot in slab.slots]
        return Part(slab, self._tensor(written), self._tensor(looked))

    def _lines_of(self, heads: int) -> tuple[Tensor, ...]:
        """Of each slab, seen as a line for each position of each head of each room, those of the tokens."""
        if heads not in self._lines:
            own = torch.arange(heads, device=self._device)
            self._lines[heads] = tuple(
                ((part.written[:, None] * heads + own) * part.slab.room + part.positions[part.written, None]).flatten()
                for part in self.parts
            )
        return self._lines[heads]

    def _tensor(self, values: Sequence[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=self._device)
