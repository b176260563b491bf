"""What the adapters of one routing do at one target: worked out when a forward first enters it, kept for the next ones.

A generation is many forwards under one routing, so whatever they share is looked up, sorted and laid out once. Plans
are kept in their routing, by layer, and compared with the layer's adapters by its edition. Stacked weights have no
cache of their own. They belong to a plan: made when a second forward enters it, because the copies cost more than one
forward gains, and dropped with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from models_registry.injection.kernels.kernel_table import Stacking
from models_registry.injection.kernels.segmented import AddLowRank, add_in_segments, add_linear
from models_registry.injection.kernels.stacked_lora import LowRankDelta, StackedLoRA, can_be_stacked
from models_registry.injection.layer_delta import LayerAdapters, LayerDelta
from models_registry.injection.routing.rows import RowsOf


class Additions(Protocol):
    """Rows that get low-rank parts here and nothing else."""

    def add(self, out: Tensor, x: Tensor, layer: nn.Module) -> None:
        """Into `out`, which is the layer's own output for `x`."""
        ...


class LowRankDeltas:
    """Rows that get low-rank parts here and nothing else. `rows` is the batch's size; None: there is one addition, for
    all there is. `add_low_rank` is what this kind of layer takes."""

    def __init__(
        self, parts: Sequence[LowRankDelta], rows: int | None, add_low_rank: AddLowRank, stacking: Stacking
    ) -> None:
        self._parts = parts
        self._rows = rows
        self._add_low_rank = add_low_rank
        self._stacking = stacking
        self._stacks_up_to: float | None = None
        self._stack: StackedLoRA | None = None
        self._entered = False

    def add(self, out: Tensor, x: Tensor, layer: nn.Module) -> None:
        """Into `out`, which is the layer's own output for `x`."""
        # One forward alone would not get the copies back.
        if self._entered and self._most_stacked and 0 < x.numel() <= self._most_stacked * x.shape[-1]:
            stack = self._stack or self._make_stack()
            if stack is not None:
                stack.add(out, x)
                return
        self._entered = True
        add_in_segments(out, x, self._parts, self._rows, self._add_low_rank, layer)

    @property
    def _most_stacked(self) -> float:
        """The most tokens of the whole batch that are stacked, which is what the adapter with the most rows allows."""
        if self._stacks_up_to is None:
            rows = self._rows or 1
            stacks = self._add_low_rank is add_linear and all(can_be_stacked(part.low_ranks) for part in self._parts)
            up_to = self._stacking.table.stacks_up_to(len(self._parts)) if stacks else 0
            self._stacks_up_to = up_to * rows / max(part.size_in(rows) for part in self._parts)
        return self._stacks_up_to

    def _make_stack(self) -> StackedLoRA | None:
        if self._stacking.room.take(sum(part.bytes for part in self._parts)):
            self._stack = StackedLoRA.of(self._parts)
        else:
            self._stacks_up_to = 0
        return self._stack


@dataclass(frozen=True, slots=True)
class Plan:
    """`names` are the adapters that act here. The plan is `made_of` what each segment's composition does, and was last
    compared with that at the layer's `edition`. Where there is a `merged` copy, that answers in the target's place and
    nothing else is left to do. `gathered_output` `[rows, out]` has the output scales of rows that get nothing else."""

    edition: int
    made_of: tuple[LayerAdapters, ...]
    names: frozenset[str]
    changes: tuple[LayerDelta, ...] = ()
    input_scales: tuple[tuple[RowsOf, Tensor], ...] = ()
    gathered_output: Tensor | None = None
    additions: tuple[Additions, ...] = ()
    merged: nn.Module | None = None
