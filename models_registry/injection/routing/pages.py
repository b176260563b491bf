"""Which composition has which blocks of a layer's table, for the routing of running sequences.

A composition that joins is copied into free blocks of each layer that it acts at. What a removed one had there stays
until the blocks are needed, so that it may return at no cost, or until one of its adapters is replaced or ejected.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor, nn

from models_registry.adapters.folded import widened
from models_registry.injection.kernels.kernel_table import Room
from models_registry.injection.kernels.paged_lora import Bags, PagedLoRA, blocks_of_rank
from models_registry.injection.kernels.scales import gather_vectors, over_rows
from models_registry.injection.kernels.stacked_lora import LowRanks, rank_of
from models_registry.injection.layer_delta import LayerAdapters
from models_registry.injection.merged.merged_weights_cache import CompositionKey
from models_registry.injection.routing.segment import Segment

Blocks: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """What was copied, and where it lies."""

    low_ranks: LowRanks
    blocks: Blocks


class LayerPages:
    """The table of one layer, by composition. `room` is what all layers' tables may still take."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._table: PagedLoRA | None = None
        self._pages: dict[CompositionKey, Page] = {}
        self._free: list[int] = []

    def put(self, wanted: Mapping[CompositionKey, LowRanks]) -> PagedLoRA:
        """The table, with `wanted` in it; what is there already stays. Without room for all, some have no
        blocks afterwards."""
        low, _ = next(iter(wanted.values()))[0]
        if self._table is not None and not self._table.is_like(low):
            self.drop()
        table = self._table = self._table or PagedLoRA(low)
        held = self._pages
        missing = [key for key, own in wanted.items() if key not in held or held[key].low_ranks is not own]
        for key in held.keys() & missing:
            self._give_up(key)
        sizes = [blocks_of_rank(rank_of(wanted[key])) for key in missing]
        self._make_room(table, sum(sizes), wanted)
        for key, size in zip(missing, sizes, strict=True):
            if size <= len(self._free):
                blocks = tuple(self._free.pop() for _ in range(size))
                table.put(blocks, wanted[key])
                held[key] = Page(wanted[key], blocks)
        return table

    def blocks_of(self, compositions: Collection[CompositionKey]) -> dict[CompositionKey, Blocks]:
        """Of those that have any."""
        return {key: page.blocks for key in compositions if (page := self._pages.get(key)) is not None}

    def forget(self, name: str) -> bool:
        """Give up what the adapter has part in, and the whole table where little of it is in use. Whether any was."""
        gone = [key for key in self._pages if any(name == own for own, _ in key)]
        for key in gone:
            self._give_up(key)
        in_use = sum(len(page.blocks) for page in self._pages.values())
        if gone and self._table is not None and 4 * in_use <= self._table.blocks:
            self.drop()
        return bool(gone)

    @property
    def bytes(self) -> int:
        return 0 if self._table is None else self._table.blocks * self._table.block_bytes

    def drop(self) -> None:
        """Give the memory back. What is still needed is copied again."""
        self._room.give(self.bytes)
        self._table, self._pages, self._free = None, {}, []

    def _make_room(self, table: PagedLoRA, count: int, wanted: Collection[CompositionKey]) -> None:
        """Free `count` blocks: those of removed compositions, oldest first, then new ones."""
        for key in [key for key in self._pages if key not in wanted]:
            if count <= len(self._free):
                return
            self._give_up(key)
        present, lacking = table.blocks, count - len(self._free)
        more = min(max(lacking, present), self._room.left // table.block_bytes) if lacking > 0 else 0
        if more > 0:
            table.resize(present + more)
            self._room.take(more * table.block_bytes)
            self._free.extend(range(present, present + more))

    def _give_up(self, key: CompositionKey) -> None:
        self._free.extend(self._pages.pop(key).blocks)


class PagedDeltas:
    """Rows whose output is scaled, shifted and added to. `blocks` of the layer's `table` are there for each row of the
    batch, which has these `compositions`; `scales` and `shifts` are `[rows, out]`. `shared` are the bags of all layers
    under one routing, most of which have the same ones."""

    def __init__(
        self,
        compositions: Collection[CompositionKey],
        table: PagedLoRA | None,
        blocks: tuple[Blocks, ...],
        scales: Tensor | None,
        shifts: Tensor | None,
        shared: dict[object, Bags],
    ) -> None:
        self.compositions = compositions
        self._table = table
        self._blocks = blocks
        self._scales = scales
        self._shifts = shifts
        self._shared = shared
        self._bags: dict[torch.Size, Bags] = {}

    def add(self, out: Tensor, x: Tensor, layer: nn.Module) -> None:
        """Into `out`, which is the layer's own output for `x`. Rounds once."""
        if not x.numel():
            return
        total = widened(out)
        if self._scales is not None:
            total.mul_(over_rows(self._scales, total.dim(), 0))
        if self._shifts is not None:
            total.add_(over_rows(self._shifts, total.dim(), 0))
        if self._table is not None:
            total.add_(self._table.product(x, self._bags_for(x)).view(total.shape))
        if total is not out:
            out.copy_(total)

    def _bags_for(self, x: Tensor) -> Bags:
        bags = self._bags.get(x.shape)
        if bags is None:
            width = x.shape[-1]
            tokens = x.numel() // (len(self._blocks) * width)
            key = (self._blocks, tokens, width, x.device)
            bags = self._shared.get(key) or Bags.of(self._blocks, tokens, width, x.device)
            self._bags[x.shape] = self._shared[key] = bags
        return bags


class Pages:
    """All layers' tables, for one `SequenceRouting`."""

    def __init__(self, max_bytes: int) -> None:
        self._room = Room(max_bytes)
        self._layers: dict[object, LayerPages] = {}

    def at(self, layer: object) -> LayerPages:
        pages = self._layers.get(layer)
        if pages is None:
            pages = self._layers[layer] = LayerPages(self._room)
        return pages

    def forget(self, name: str) -> bool:
        """Give up what the adapter has part in, at every layer. Whether any was there."""
        were_there = [pages.forget(name) for pages in self._layers.values()]
        return any(were_there)

    @property
    def bytes(self) -> int:
        return sum(pages.bytes for pages in self._layers.values())

    def drop_all(self) -> None:
        """Give all memory back. What is still needed is copied again."""
        for pages in self._layers.values():
            pages.drop()

    def drop(self, layer: object) -> None:
        """Give up a layer that has no adapters any more."""
        pages = self._layers.pop(layer, None)
        if pages is not None:
            pages.drop()


@dataclass(frozen=True, slots=True)
class Paging:
    """One routing's use of the tables. `rows` are the compositions of its batch's rows."""

    pages: Pages
    rows: tuple[CompositionKey, ...]
    bags: dict[object, Bags] = field(default_factory=dict[object, Bags])

    def page(self, layer: object, segments: Sequence[Segment], acting: Sequence[LayerAdapters]) -> PagedDeltas | None:
        """What the layer's table takes of what the segments' compositions do there."""
        linear = {
            segment.composition: own.linear
            for segment, own in zip(segments, acting, strict=True)
            if own.linear is not None
        }
        wanted = {key: own.low_ranks for key, own in linear.items() if own.low_ranks}
        table, blocks = None, dict[CompositionKey, Blocks]()
        if wanted:
            pages = self.pages.at(layer)
            table, blocks = pages.put(wanted), pages.blocks_of(wanted)
        held = {key: own for key, own in linear.items() if key in blocks or not own.low_ranks}
        if not held:
            return None
        scales = self._gathered({key: own.scale for key, own in held.items() if own.scale is not None}, 1.0)
        shifts = self._gathered({key: own.shift for key, own in held.items() if own.shift is not None}, 0.0)
        own_blocks = tuple([blocks.get(key, ()) for key in self.rows])
        return PagedDeltas(held.keys(), table if blocks else None, own_blocks, scales, shifts, self.bags)

    def _gathered(self, vectors: Mapping[CompositionKey, Tensor], otherwise: float) -> Tensor | None:
        """`[rows, out]`; None where no row has any."""
        if not vectors:
            return None
        own = [(slice(row, row + 1), vectors[key]) for row, key in enumerate(self.rows) if key in vectors]
        return gather_vectors(own, len(self.rows), otherwise)
