"""Who has which blocks of a layer's table, and what of a table's memory is given back."""

from collections.abc import Sequence

import torch

from models_registry.adapters.folded import LowRank
from models_registry.injection.kernels.kernel_table import Room
from models_registry.injection.kernels.stacked_lora import LowRanks
from models_registry.injection.merged.merged_weights_cache import CompositionKey
from models_registry.injection.routing.pages import LayerPages

BLOCK_BYTES = (6 + 5) * 16 * 4


def wanted(*names: str, rank: int = 4) -> dict[CompositionKey, LowRanks]:
    return {((name, 1.0),): ((LowRank(torch.ones(rank, 6), torch.ones(5, rank), 1.0), 1.0),) for name in names}


def blocks(pages: LayerPages, keys: Sequence[CompositionKey]) -> list[tuple[int, ...]]:
    return [pages.blocks_of(keys)[key] for key in keys]


def test_no_two_compositions_share_a_block() -> None:
    pages = LayerPages(Room(1 << 20))
    low, wide = wanted("a", "b"), wanted("c", rank=33)
    pages.put(low)
    pages.put({**low, **wide})
    own = blocks(pages, [*low, *wide])
    assert [len(one) for one in own] == [1, 1, 3]
    assert len({block for one in own for block in one}) == 5


def test_what_left_stays_until_its_blocks_are_needed() -> None:
    room = Room(1 << 20)
    pages = LayerPages(room)
    low = wanted("a", "b")
    first, second = low
    pages.put(low)
    left = room.left
    pages.put({second: low[second]})
    assert first in pages.blocks_of(low)
    pages.put({second: low[second], **wanted("c")})
    assert first not in pages.blocks_of(low)
    assert room.left == left


def test_replaced_tensors_get_the_blocks_of_the_old_ones() -> None:
    room = Room(1 << 20)
    pages = LayerPages(room)
    pages.put(wanted("a"))
    left = room.left
    new = wanted("a")
    table = pages.put(new)
    assert blocks(pages, [*new]) == [(0,)]
    assert table.blocks == 1
    assert room.left == left


def test_a_table_takes_what_there_is_room_for() -> None:
    room = Room(3 * BLOCK_BYTES)
    pages = LayerPages(room)
    low = wanted("a", "b", "c", "d")
    table = pages.put(low)
    assert (table.blocks, room.left) == (3, 0)
    assert len(pages.blocks_of(low)) == 3


def test_memory_is_given_back_when_little_of_a_table_is_in_use() -> None:
    room = Room(1 << 20)
    pages = LayerPages(room)
    names = "abcdefgh"
    pages.put(wanted(*names))
    taken = (1 << 20) - room.left
    assert taken == 8 * BLOCK_BYTES
    for name in names[:5]:
        assert pages.forget(name)
    assert room.left == (1 << 20) - taken
    assert pages.forget(names[5])
    assert room.left == 1 << 20
    assert not pages.forget("unknown")
