"""The `stacked` kernel: the low-rank parts of all of a batch's adapters in two batched products, from copies of their
tensors laid side by side. Fewer and larger operations than one adapter after the other.

Ranks are filled up with zeros, adapters that have fewer rows than others with rows whose result is thrown away.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self, TypeAlias

import torch
from torch import Tensor

from models_registry.adapters.folded import LowRank, widened
from models_registry.injection.routing.rows import RowsOf

LowRanks: TypeAlias = tuple[tuple[LowRank, float], ...]
"""With their weights."""


def rank_of(low_ranks: LowRanks) -> int:
    return sum(len(low.down) for low, _ in low_ranks)


def can_be_stacked(low_ranks: LowRanks) -> bool:
    """Not where B has a bias, for that is no product, nor while the adapter is trained, for copies have no past."""
    return all(low.bias is None and not (low.down.requires_grad or low.up.requires_grad) for low, _ in low_ranks)


@dataclass(frozen=True, slots=True)
class LowRankDelta:
    """What is added at `rows`: `Σ weight · low_rank(x)`."""

    rows: RowsOf
    low_ranks: LowRanks

    def size_in(self, batch: int) -> int:
        """How many of a batch's rows it has."""
        return self.rows.stop - self.rows.start if isinstance(self.rows, slice) else batch

    @property
    def rank(self) -> int:
        return rank_of(self.low_ranks)

    @property
    def bytes(self) -> int:
        return sum(low.down.nbytes + low.up.nbytes for low, _ in self.low_ranks)


@dataclass(frozen=True, slots=True)
class Uneven:
    """Where k adapters have different numbers of rows: `taken` `[k·n]` are rows of the batch, the largest adapter's n
    for each; `kept` are the places in `taken` of the rows that the adapters really have, `rows`."""

    taken: Tensor
    kept: Tensor
    rows: Tensor


@dataclass(frozen=True, slots=True)
class StackedLoRA:
    """`down` `[k, in, r]` and `up` `[k, r, out]`, times weight and scaling, of k adapters. Their rows are neighbours in
    `rows`, equally many of each, unless `uneven` says otherwise."""

    down: Tensor
    up: Tensor
    rows: RowsOf
    uneven: Uneven | None

    @classmethod
    def of(cls, additions: Sequence[LowRankDelta]) -> Self:
        """In row order. Copies their tensors, which then must not change."""
        like, _ = additions[0].low_ranks[0]
        rank = max(addition.rank for addition in additions)
        # Later forwards may track gradients of their inputs, even where this one doesn't.
        with torch.inference_mode(False), torch.no_grad():
            down = like.down.new_zeros(len(additions), rank, like.down.shape[1])
            up = like.up.new_zeros(len(additions), rank, like.up.shape[0])
            for place, addition in enumerate(additions):
                start = 0
                for low, weight in addition.low_ranks:
                    stop = start + len(low.down)
                    down[place, start:stop].copy_(low.down)
                    torch.mul(low.up.T, weight * low.scaling, out=up[place, start:stop])
                    start = stop
            places = [addition.rows for addition in additions]
            return cls(down.transpose(1, 2), up, _neighbours(places), _uneven(places, down.device))

    def add(self, out: Tensor, x: Tensor) -> None:
        """`out += x · down · up` at the adapters' rows: `x` `[rows, …, in]`, `out` `[rows, …, out]`. Rounds once."""
        if self.uneven is not None:
            h = self._go_down(x.index_select(0, self.uneven.taken))
            delta = torch.bmm(h, self.up).view(len(self.uneven.taken), *out.shape[1:])
            total = widened(out.index_select(0, self.uneven.rows)).add_(delta.index_select(0, self.uneven.kept))
            out.index_copy_(0, self.uneven.rows, total.to(out.dtype))
            return
        if self.rows is not ...:
            out, x = out[self.rows], x[self.rows]
        h, total = self._go_down(x), widened(out)
        if total.dtype == h.dtype and total.is_contiguous():  # not under autocast
            total.view(len(self.up), -1, out.shape[-1]).baddbmm_(h, self.up)
        else:
            total.add_(torch.bmm(h, self.up).view(out.shape))
        if total is not out:
            out.copy_(total)

    def _go_down(self, x: Tensor) -> Tensor:
        """`[k, n·tokens, r]`."""
        x = x.reshape(len(self.down), -1, x.shape[-1])
        return torch.bmm(x if x.dtype == self.down.dtype else x.to(self.down.dtype), self.down)


def _neighbours(places: Sequence[RowsOf]) -> RowsOf:
    first, last = places[0], places[-1]
    return slice(first.start, last.stop) if isinstance(first, slice) and isinstance(last, slice) else ...


def _uneven(places: Sequence[RowsOf], device: torch.device) -> Uneven | None:
    """None where they lie next to each other and are of one size."""
    slices = [place for place in places if isinstance(place, slice)]
    sizes = [place.stop - place.start for place in slices]
    if len(set(sizes)) <= 1 and all(one.stop == other.start for one, other in pairwise(slices)):
        return None
    largest = max(sizes)
    taken = [min(place.start + at, place.stop - 1) for place in slices for at in range(largest)]
    kept = [which * largest + at for which, size in enumerate(sizes) for at in range(size)]
    rows = [row for place in slices for row in range(place.start, place.stop)]
    return Uneven(*(torch.tensor(indices, device=device) for indices in (taken, kept, rows)))
