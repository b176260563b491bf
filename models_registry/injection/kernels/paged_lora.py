"""The `paged` kernel: every row times the low-rank parts of its own composition, for rows that change all the time.

The parts of all compositions lie in blocks of one rank. Both products are embedding bags: a row's bag is the lines of
its own blocks, weighted with what the row holds. So a change of rows copies no tensor, no row is filled up, and the
bits of a row follow from its own composition alone: a bag is summed up by itself, in the order of its lines.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, Self

import torch
from torch import Tensor

from models_registry.adapters.folded import LowRank
from models_registry.injection.kernels.stacked_lora import LowRanks

BLOCK: Final = 16
"""The rank of a block: as wide as the widest vectors of a processor. Ranks are filled up to it with zeros."""


@dataclass(frozen=True, slots=True)
class Bags:
    """Which lines of a table's tensors are summed up for each line of a batch. `lines` `[bags]` are the batch's lines
    that `down` has bags for; None: one for each, in order."""

    lines: Tensor | None
    down: Tensor
    down_starts: Tensor
    up: Tensor
    up_starts: Tensor

    @classmethod
    def of(cls, blocks: Sequence[Sequence[int]], tokens: int, width: int, device: torch.device) -> Self:
        """`blocks` of each row, a row of so many `tokens`, at a layer that takes so many features."""
        of_lines = [own for own in blocks for _ in range(tokens)]
        sizes = [len(own) for own in of_lines]
        lines = [line for line, size in enumerate(sizes) for _ in range(size)]
        used = _integers([block for own in of_lines for block in own], device)[:, None]
        starts = [0, *accumulate(sizes)]
        return cls(
            None if lines == list(range(len(of_lines))) else _integers(lines, device),
            (used * width + torch.arange(width, dtype=torch.int32, device=device)).flatten(),
            torch.arange(len(lines), dtype=torch.int32, device=device) * width,
            (used * BLOCK + torch.arange(BLOCK, dtype=torch.int32, device=device)).flatten(),
            _integers(starts[: len(of_lines)], device) * BLOCK,
        )


class PagedLoRA:
    """One layer's blocks, line by line: `down` `[blocks · in, BLOCK]`, `up` `[blocks · BLOCK, out]`, times weight and
    scaling."""

    def __init__(self, like: LowRank) -> None:
        self.blocks = 0
        self._width_in = like.down.shape[1]
        with torch.inference_mode(False):
            self._down = like.down.new_empty(0, BLOCK)
            self._up = like.up.new_empty(0, like.up.shape[0])

    @property
    def block_bytes(self) -> int:
        return (self._width_in + self._up.shape[1]) * BLOCK * self._down.itemsize

    def is_like(self, low: LowRank) -> bool:
        """Whether `low` lies where the blocks lie, in their dtype: a model may have been moved."""
        return (low.down.dtype, low.down.device) == (self._down.dtype, self._down.device)

    def resize(self, blocks: int) -> None:
        """Have room for so many. Those that are there stay."""
        with torch.inference_mode(False), torch.no_grad():
            self._down, self._up = (
                _lengthened(self._down, blocks * self._width_in),
                _lengthened(self._up, blocks * BLOCK),
            )
            self.blocks = blocks

    def put(self, blocks: Sequence[int], low_ranks: LowRanks) -> None:
        """Copy `low_ranks` into `blocks`, in this order."""
        with torch.inference_mode(False), torch.no_grad():
            down = _joined([low.down for low, _ in low_ranks], 0)  # [rank, in]
            up = _joined([low.up * (weight * low.scaling) for low, weight in low_ranks], 1)  # [out, rank]
            downs, ups = self._down.view(self.blocks, -1, BLOCK), self._up.view(self.blocks, BLOCK, -1)
            for block, start in zip(blocks, range(0, len(down), BLOCK), strict=True):
                rank = min(len(down) - start, BLOCK)
                downs[block, :, :rank] = down[start : start + rank].T
                ups[block, :rank] = up[:, start : start + rank].T
                if rank < BLOCK:
                    downs[block, :, rank:] = 0
                    ups[block, rank:] = 0

    def product(self, x: Tensor, bags: Bags) -> Tensor:
        """`x · down · up` `[lines, out]`, zeros at lines without blocks: `x` `[…, in]`."""
        # Once for each layer and token: no step more than the products.
        weights = x if bags.lines is None else x.reshape(-1, x.shape[-1]).index_select(0, bags.lines)
        if weights.dtype != self._down.dtype:
            weights = weights.to(self._down.dtype)
        h = _sums(self._down, bags.down, bags.down_starts, weights)  # [bags, BLOCK]
        return _sums(self._up, bags.up, bags.up_starts, h)


def blocks_of_rank(rank: int) -> int:
    return -(-rank // BLOCK)


def _sums(table: Tensor, lines: Tensor, starts: Tensor, weights: Tensor) -> Tensor:
    """`[bags, features]`: the sum of each bag's lines of `table`, times their weights."""
    summed: Tensor = torch.embedding_bag(table, lines, starts, mode=0, per_sample_weights=weights.reshape(-1))[0]
    return summed


def _joined(tensors: Sequence[Tensor], dimension: int) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(list(tensors), dimension)


def _lengthened(tensor: Tensor, lines: int) -> Tensor:
    longer = tensor.new_empty(lines, tensor.shape[1])
    longer[: len(tensor)] = tensor
    return longer


def _integers(values: Sequence[int], device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=torch.int32, device=device)
