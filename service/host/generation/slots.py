"""Keys and values of the texts that are being written, as the cache that a transformers model writes to.

Each text has a slot and begins at position 0 of its room, so no row is padded on the left. In a forward, the cache
holds either the next positions of some slots or the next position of each of the first ones.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol, TypeAlias

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

from service.host.generation.rooms import room_for, rooms_in_slab
from service.host.generation.slabs import Place, Slab, Slabs

Pair: TypeAlias = tuple[Tensor, Tensor]
"""Keys and values."""
KeptSlab: TypeAlias = Slab[Pair]
"""Of each layer [rooms, heads, positions, width]."""

NOBODY: Final = -1


class Forward(Protocol):
    """What a forward writes, and which keys and values the model's attention looks at then."""

    def write(self, layer: "SlotLayer", keys: Tensor, values: Tensor) -> Pair: ...


class SlotLayer(CacheLayerMixin):
    """Layer `index`, of whose keys and values each slab keeps some."""

    is_sliding = False

    def __init__(self, slots: "KeyValueSlots", index: int) -> None:
        super().__init__()
        self._slots = slots
        self.index = index
        self.position_bytes = 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.keys, self.values = key_states[:0], value_states[:0]
        self.position_bytes = sum(new[0, :, 0].nbytes for new in (key_states, value_states))
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> Pair:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        return self._slots.forward.write(self, key_states, value_states)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return query_length, 0

    def get_seq_length(self) -> int:
        return 0

    def get_max_length(self) -> int:
        return -1

    def kept_in(self, slab: KeptSlab) -> Pair:
        """Its keys and values there. Zeros at first: what attention doesn't look at must still be numbers."""
        kept = slab.kept.get(self.index)
        if kept is None:
            kept = slab.kept[self.index] = self._empty(self.keys, slab), self._empty(self.values, slab)
        return kept

    @staticmethod
    def _empty(like: Tensor | None, slab: KeptSlab) -> Tensor:
        assert like is not None
        return like.new_zeros(slab.rooms, like.shape[1], slab.room, like.shape[3])


class Chunk:
    """Positions `start` to `end` of the texts in `places`, a row each."""

    def __init__(self, places: Sequence[Place[Pair]], start: int, end: int) -> None:
        self._places = places
        self._start = start
        self._end = end

    def write(self, layer: SlotLayer, keys: Tensor, values: Tensor) -> Pair:
        rooms = [tuple(kept[place.index] for kept in layer.kept_in(place.slab)) for place in self._places]
        for row, (own_keys, own_values) in enumerate(rooms):
            own_keys[:, self._start : self._end] = keys[row]
            own_values[:, self._start : self._end] = values[row]
        if not self._start:
            return keys, values
        before_end = [torch.stack([kept[:, : self._end] for kept in own]) for own in zip(*rooms, strict=True)]
        return before_end[0], before_end[1]


class KeyValueSlots(Cache):
    """Memory is taken when it is first needed, at most for `max_positions` unless texts need more. Use it under
    `torch.inference_mode`."""

    def __init__(self, layers: int) -> None:
        self.max_positions: int | None = None
        self.forward: Forward = Chunk((), 0, 0)
        self._slabs: Slabs[Pair] = Slabs()
        self._layers = [SlotLayer(self, index) for index in range(layers)]
        super().__init__(layers=list[Any](self._layers))

    @property
    def bytes(self) -> int:
        return self._slabs.positions * self.position_bytes

    @property
    def position_bytes(self) -> int:
        """What one position of one text takes; 0 before the first forward."""
        return sum(layer.position_bytes for layer in self._layers)

    @property
    def used_slabs(self) -> Sequence[KeptSlab]:
        """Those that have texts."""
        return tuple(self._slabs.used)

    def read_at(self, slots: Sequence[int], start: int, end: int) -> None:
        """The next forward computes these positions of `slots`, a row each."""
        for slot in slots:
            self.hold(slot, end)
        self.forward = Chunk([self._place_of(slot) for slot in slots], start, end)

    def hold(self, slot: int, length: int) -> None:
        """Let its text have room for so many positions; what it has stays."""
        room, old = room_for(length), self._slabs.place_of(slot)
        if old is not None and old.slab.room >= room:
            return
        if not self._slabs.has_room(room) and self.max_positions is not None:
            taken = self._slabs.positions + rooms_in_slab(room) * room
            if taken > self.max_positions:
                self._slabs.drop_empty()
        if old is None:
            self._slabs.take(slot, room)
            return
        new = self._slabs.take(NOBODY, room)
        try:
            for layer in old.slab.kept:
                self._copy(layer, old, new)
        except BaseException:  # memory ran out: the text is where it was
            self._slabs.give(NOBODY)
            raise
        self.release(slot)
        self.rename({NOBODY: slot})

    def release(self, slot: int) -> None:
        """Its text needs its room no more."""
        if self._slabs.place_of(slot) is not None and (move := self._slabs.give(slot)) is not None:
            source, hole = move
            for layer in source.slab.kept:
                self._copy(layer, source, hole)

    def rename(self, names: Mapping[int, int]) -> None:
        """The texts in these slots are in others now."""
        self._slabs.rename(names)

    def clear(self, slot: int) -> None:
        """A forward may have left numbers there that aren't finite: hidden ones would still spoil a text."""
        if (place := self._slabs.place_of(slot)) is not None:
            for kept in place.slab.kept.values():
                for tensor in kept:
                    tensor[place.index].zero_()

    def read(self, slot: int, start: int, end: int) -> tuple[Tensor, ...]:
        """Copies of a slot's positions, to `write` them to another one."""
        place = self._place_of(slot)
        kept = (layer.kept_in(place.slab) for layer in self._layers)
        return tuple(tensor[place.index, :, start:end].clone() for pair in kept for tensor in pair)

    def write(self, slot: int, start: int, copies: Sequence[Tensor]) -> None:
        end = start + copies[0].shape[1]
        self.hold(slot, end)
        place = self._place_of(slot)
        tensors = [tensor for layer in self._layers for tensor in layer.kept_in(place.slab)]
        for tensor, own in zip(tensors, copies, strict=True):
            tensor[place.index, :, start:end] = own

    def reset(self) -> None:
        """No slot has a text any more."""
        self._slabs = Slabs()

    def drop_empty(self) -> None:
        """Give the memory back that no text has."""
        self._slabs.drop_empty()

    def _place_of(self, slot: int) -> Place[Pair]:
        place = self._slabs.place_of(slot)
        assert place is not None, f"slot {slot} has no room"
        return place

    def _copy(self, layer: int, source: Place[Pair], place: Place[Pair]) -> None:
        length = min(source.slab.room, place.slab.room)
        pairs = zip(source.slab.kept[layer], self._layers[layer].kept_in(place.slab), strict=True)
        for old, new in pairs:
            new[place.index, :, :length] = old[source.index, :, :length]
