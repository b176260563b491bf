"""Keys and values of the texts that are being written, as the cache that a transformers model writes to.

Each text has a slot and begins at its position 0, so no row is padded on the left. In a forward, the cache holds either
the next positions of some slots or the next position of each of the first ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

from service.host.generation.schedule import room_for, slots_for

VIEW: Final = 64
"""Attention looks at so many positions, or a multiple."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Positions `start` to `end` of these `slots` [rows]."""

    slots: Tensor
    start: int
    end: int

    def write(self, kept: Tensor, new: Tensor) -> Tensor:
        kept[self.slots, :, self.start : self.end] = new
        return kept[self.slots, :, : self.end] if self.start else new


@dataclass(frozen=True, slots=True)
class Step:
    """The next position of each of the first slots: `rows` and `positions` [rows], of which attention looks at the
    first `view`."""

    rows: Tensor
    positions: Tensor
    view: int

    def write(self, kept: Tensor, new: Tensor) -> Tensor:
        kept[self.rows, :, self.positions] = new[:, :, 0]
        return kept[: len(self.rows), :, : self.view]


class SlotLayer(CacheLayerMixin):
    """One layer's `keys` and `values` [slots, heads, positions, width]."""

    is_sliding = False

    def __init__(self, slots: "KeyValueSlots") -> None:
        super().__init__()
        self._slots = slots

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.keys = self._empty(key_states, self._slots.count, self._slots.room)
        self.values = self._empty(value_states, self._slots.count, self._slots.room)
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None
        assert self.values is not None
        forward = self._slots.forward
        return forward.write(self.keys, key_states), forward.write(self.values, value_states)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self._slots.room, 0

    def get_seq_length(self) -> int:
        return 0

    def get_max_length(self) -> int:
        return -1

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return () if self.keys is None or self.values is None else (self.keys, self.values)

    def resize(self, count: int, room: int) -> None:
        """More or fewer slots or positions; what lies in both stays."""
        if self.keys is not None and self.values is not None:
            self.keys, self.values = (self._resized(kept, count, room) for kept in (self.keys, self.values))

    def _resized(self, kept: Tensor, count: int, room: int) -> Tensor:
        made = self._empty(kept, count, room)
        slots, positions = min(count, kept.shape[0]), min(room, kept.shape[2])
        made[:slots, :, :positions] = kept[:slots, :, :positions]
        return made

    @staticmethod
    def _empty(like: Tensor, count: int, room: int) -> Tensor:
        """Zeros: what attention doesn't look at must still be numbers."""
        return like.new_zeros(count, like.shape[1], room, like.shape[3])


class KeyValueSlots(Cache):
    """`count` slots of `room` positions; memory is taken at the first forward. Use it under `torch.inference_mode`."""

    def __init__(self, layers: int) -> None:
        self.count = slots_for(1)
        self.room = room_for(1)
        self.forward: Chunk | Step = Chunk(torch.empty(0, dtype=torch.long), 0, 0)
        self._layers = [SlotLayer(self) for _ in range(layers)]
        super().__init__(layers=list[Any](self._layers))

    @property
    def bytes(self) -> int:
        return sum(tensor.nbytes for layer in self._layers for tensor in layer.tensors)

    @property
    def position_bytes(self) -> int:
        """What one position of one slot takes; 0 before the first forward."""
        return self.bytes // (self.count * self.room)

    def place(self, slots: Tensor, start: int, end: int) -> None:
        """The next forward computes these positions of `slots` [rows]."""
        self._reserve(int(slots.max()) + 1, end)
        self.forward = Chunk(slots, start, end)

    def view(self, positions: Tensor, longest: int) -> int:
        """The next forward computes one position of each of the first slots, `positions` [rows], of which the texts'
        are at most `longest`. Returns how many positions attention looks at."""
        self._reserve(len(positions), int(positions.max()) + 1)
        view = min(-(-(longest + 1) // VIEW) * VIEW, self.room)
        self.forward = Step(torch.arange(len(positions), device=positions.device), positions, view)
        return view

    def move(self, source: int, slot: int, length: int) -> None:
        """The text of `length` positions in slot `source` is now in `slot`. One of none may have a slot that no forward
        has needed yet."""
        for layer in self._layers if length else ():
            for tensor in layer.tensors:
                tensor[slot, :, :length] = tensor[source, :, :length]

    def swap(self, slot: int, other: int, length: int) -> None:
        """Two texts, of at most `length` positions, change places."""
        for layer in self._layers:
            for tensor in layer.tensors:
                tensor[[slot, other], :, :length] = tensor[[other, slot], :, :length]

    def clear(self, slot: int) -> None:
        """A forward may have left numbers there that aren't finite: hidden ones would still spoil a text."""
        for layer in self._layers:
            for tensor in layer.tensors:
                if slot < len(tensor):
                    tensor[slot].zero_()

    def read(self, slot: int, start: int, end: int) -> tuple[Tensor, ...]:
        """Copies of a slot's positions, to `write` them to another one."""
        return tuple(tensor[slot, :, start:end].clone() for layer in self._layers for tensor in layer.tensors)

    def write(self, slot: int, start: int, copies: Sequence[Tensor]) -> None:
        end = start + copies[0].shape[1]
        self._reserve(slot + 1, end)
        tensors = [tensor for layer in self._layers for tensor in layer.tensors]
        for tensor, own in zip(tensors, copies, strict=True):
            tensor[slot, :, start:end] = own

    def shrink(self, count: int, longest: int) -> None:
        """Only so many slots of so many positions are needed: give the rest of the memory back."""
        count, room = slots_for(count), room_for(longest)
        if (count, room) != (self.count, self.room):
            self._resize(count, room)

    def make_way(self, count: int, longest: int, most: int, max_positions: int) -> None:
        """For `count` texts that have `longest` positions and may get `most`: give back what others had before, if with
        it the slots would have more than `max_positions`, although these texts need no more."""
        if max(self.count, slots_for(count)) * max(self.room, room_for(most)) > max_positions:
            self.shrink(count, longest)

    def _reserve(self, count: int, length: int) -> None:
        count, room = max(self.count, slots_for(count)), max(self.room, room_for(length))
        if (count, room) != (self.count, self.room):
            self._resize(count, room)

    def _resize(self, count: int, room: int) -> None:
        for layer in self._layers:
            layer.resize(count, room)
        self.count, self.room = count, room
