"""The paged kernel: each line of a batch times its own blocks, with bits that no other line has part in."""

from collections.abc import Sequence

import pytest
import torch
from tolerance import assert_same
from torch import Tensor

from models_registry.adapters.folded import LowRank
from models_registry.injection.kernels.paged_lora import BLOCK, Bags, PagedLoRA, blocks_of_rank
from models_registry.injection.kernels.stacked_lora import LowRanks

WIDTHS = [(6, 5), (16, 24), (576, 192), (192, 576)]
CPU = torch.device("cpu")


def low_rank(rank: int, width_in: int, width_out: int, seed: int, dtype: torch.dtype) -> LowRank:
    generator = torch.Generator().manual_seed(seed)
    down = torch.randn(rank, width_in, generator=generator, dtype=dtype)
    up = torch.randn(width_out, rank, generator=generator, dtype=dtype)
    return LowRank(down, up, 0.5)


def numbers(*shape: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def table_of(pages: Sequence[LowRanks]) -> tuple[PagedLoRA, list[tuple[int, ...]]]:
    """With each page in blocks of its own, in an order that isn't theirs."""
    sizes = [blocks_of_rank(sum(len(low.down) for low, _ in page)) for page in pages]
    free = list(range(sum(sizes)))
    table = PagedLoRA(pages[0][0][0])
    table.resize(len(free))
    places = [tuple(free.pop() for _ in range(size)) for size in sizes]
    for place, page in zip(places, pages, strict=True):
        table.put(place, page)
    return table, places


def expected(out: Tensor, x: Tensor, page: LowRanks) -> Tensor:
    for low, weight in page:
        out = out + weight * low.scaling * (x @ low.down.T @ low.up.T)
    return out


@pytest.mark.parametrize("tokens", [1, 3])
@pytest.mark.parametrize(("width_in", "width_out"), WIDTHS)
def test_each_row_gets_what_its_own_parts_give(width_in: int, width_out: int, tokens: int) -> None:
    ranks = (4, BLOCK, BLOCK + 1, 3 * BLOCK)
    pages: list[LowRanks] = [((low_rank(rank, width_in, width_out, rank, torch.float64), 2.0),) for rank in ranks]
    pages.append((*pages[0], *pages[2]))
    table, places = table_of(pages)
    rows = [0, None, 2, 1, 4, 3, 0, None]
    x = numbers(len(rows), tokens, width_in, dtype=torch.float64)
    base = numbers(len(rows), tokens, width_out, dtype=torch.float64, seed=1)
    out = base.clone()

    bags = Bags.of([() if row is None else places[row] for row in rows], tokens, width_in, CPU)
    out += table.product(x, bags).view(out.shape)

    for at, row in enumerate(rows):
        assert_same(out[at], base[at] if row is None else expected(base[at], x[at], pages[row]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("width_in", "width_out"), WIDTHS)
def test_a_rows_bits_are_the_same_in_any_company(width_in: int, width_out: int, dtype: torch.dtype) -> None:
    pages: list[LowRanks] = [((low_rank(rank, width_in, width_out, rank, dtype), 1.0),) for rank in (8, 16, 40)]
    table, places = table_of(pages)
    x = numbers(1, 1, width_in, dtype=dtype)
    for own in places:
        alone = table.product(x, Bags.of([own], 1, width_in, CPU))
        for others in ([own] * 3, [()] * 3, places, [*places, *places, ()] * 9):
            for at in (0, len(others)):
                blocks = [*others[:at], own, *others[at:]]
                batch = numbers(len(blocks), 1, width_in, dtype=dtype, seed=2)
                batch[at] = x[0]
                out = table.product(batch, Bags.of(blocks, 1, width_in, CPU))
                assert torch.equal(out[at], alone[0])


def test_bits_do_not_depend_on_where_a_page_lies() -> None:
    page: LowRanks = ((low_rank(40, 32, 24, 0, torch.float32), 1.0),)
    x = numbers(2, 1, 32, dtype=torch.float32)
    outs: list[Tensor] = []
    for order in ((0, 1, 2), (4, 2, 5)):
        table = PagedLoRA(page[0][0])
        table.resize(6)
        table.put(order, page)
        outs.append(table.product(x, Bags.of([order, order], 1, 32, CPU)))
    assert torch.equal(*outs)


def test_pages_stay_where_they_are_while_a_table_grows() -> None:
    page: LowRanks = ((low_rank(4, 6, 5, 0, torch.float64), 1.0),)
    table, places = table_of([page])
    x, bags = numbers(1, 1, 6, dtype=torch.float64), Bags.of(places, 1, 6, CPU)
    before = table.product(x, bags)
    table.resize(7)
    assert table.blocks == 7
    assert torch.equal(table.product(x, bags), before)
