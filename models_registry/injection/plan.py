"""What the adapters of one routing do at one target: worked out when a forward first enters it, kept for the next ones.

A generation is many forwards under one routing, so whatever they share is looked up, sorted and laid out once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from models_registry.injection.change import Change
from models_registry.injection.kernel_table import Stacking
from models_registry.injection.kernels import AddLowRank, add_in_segments, add_linear
from models_registry.injection.rows import RowsOf
from models_registry.injection.stacks import Addition, Stack


class Additions:
    """Rows that get low-rank parts here and nothing else. `rows` is the batch's size; None: there is one addition, for
    all there is. `add_low_rank` is what this kind of layer takes."""

    def __init__(
        self, parts: Sequence[Addition], rows: int | None, add_low_rank: AddLowRank, stacking: Stacking
    ) -> None:
        self._parts = tuple(parts)
        self._rows = rows or 1
        self._largest = max(part.size_in(self._rows) for part in parts)
        self._add_low_rank = add_low_rank
        self._stacking = stacking
        stacks = add_low_rank is add_linear and all(part.can_be_stacked for part in parts)
        self._stacked_up_to = stacking.table.stacks_up_to(len(parts)) if stacks else 0
        self._stack: Stack | None = None
        self._entered = False

    def add(self, out: Tensor, x: Tensor, layer: nn.Module) -> None:
        """Into `out`, which is the layer's own output for `x`."""
        # Of the adapter with the most rows, as many tokens as all rows would have if all were its own.
        if self._entered and 0 < x.numel() * self._largest <= self._stacked_up_to * self._rows * x.shape[-1]:
            stack = self._stack or self._make_stack()
            if stack is not None:
                stack.add(out, x)
                return
        self._entered = True
        add_in_segments(out, x, self._parts, self._add_low_rank, layer)

    def _make_stack(self) -> Stack | None:
        if self._stacking.take(sum(part.bytes for part in self._parts)):
            self._stack = Stack.of(self._parts)
        else:
            self._stacked_up_to = 0
        return self._stack


@dataclass(frozen=True, slots=True)
class Plan:
    """`names` are the adapters that act here. It holds for a layer's adapters as they were at `edition`. Where there is
    a `merged` copy, that answers in the target's place and nothing else is left to do. `gathered_output` `[rows, out]`
    has the output scales of rows that get nothing else."""

    edition: int
    names: frozenset[str] = frozenset()
    changes: tuple[Change, ...] = ()
    input_scales: tuple[tuple[RowsOf, Tensor], ...] = ()
    gathered_output: Tensor | None = None
    additions: Additions | None = None
    merged: nn.Module | None = None
