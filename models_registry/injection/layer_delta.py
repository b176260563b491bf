"""What a composition does at a target, and how rows get it that are more than added to: their output is rescaled or
shifted, or something else answers in the target's place."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_iter
from transformers.cache_utils import Cache

from models_registry.adapters.folded import AttentionDelta, Folded, widened
from models_registry.errors import Invalid
from models_registry.injection.kernels.attention import attend
from models_registry.injection.kernels.segmented import AddLowRank, over_features, place_tokens
from models_registry.injection.kernels.stacked_lora import LowRanks
from models_registry.injection.routing.rows import RowsOf, put_rows, take_rows


@dataclass(frozen=True, slots=True)
class LinearDelta:
    """`y = y ∘ scale + shift + Σ weight · low_rank(x)` at a linear layer: LoRA, DoRA, IA³ and biases alike."""

    low_ranks: LowRanks
    scale: Tensor | None
    shift: Tensor | None

    @classmethod
    def of(cls, parts: Sequence[tuple[Folded, float]]) -> Self | None:
        """None where `parts` do anything else there, or are trained."""
        others = [
            part for folded, _ in parts for part in (folded.input_scale, folded.attention, folded.tokens, folded.copy)
        ]
        scales = [folded.output_scale for folded, _ in parts if folded.output_scale is not None]
        # A scale acts on what was added before it.
        if any(part is not None for part in others) or (scales and len(parts) > 1):
            return None
        if any(folded.dropout or any(tensor.requires_grad for tensor in folded.tensors) for folded, _ in parts):
            return None
        low_ranks = [(folded.low_rank, weight) for folded, weight in parts if folded.low_rank is not None]
        shifts = [folded.output_shift for folded, _ in parts if folded.output_shift is not None]
        shifts += [low.bias * (weight * low.scaling) for low, weight in low_ranks if low.bias is not None]
        return cls(tuple(low_ranks), scales[0] if scales else None, sum(shifts[1:], shifts[0]) if shifts else None)


@dataclass(frozen=True, slots=True)
class LayerAdapters:
    """What one composition does here: its adapters that are here, with their weights. `low_ranks` only where they are
    all that it does; `linear` where a table of low-rank parts can take what it does."""

    names: frozenset[str]
    parts: tuple[tuple[Folded, float], ...]
    low_ranks: LowRanks = ()
    linear: LinearDelta | None = None


@dataclass(frozen=True, slots=True)
class LayerDelta:
    """`acting` are what the rows' adapters do, with their weights."""

    rows: RowsOf
    acting: tuple[tuple[Folded, float], ...]

    @property
    def input_scales(self) -> list[Tensor]:
        return [folded.input_scale for folded, _ in self.acting if folded.input_scale is not None]

    @property
    def rescaling(self) -> Tensor | None:
        """The output scale, if there is nothing else."""
        (folded, _), *others = self.acting
        return None if others else folded.rescaling

    @property
    def replaces(self) -> bool:
        return self._copy is not None or bool(self._deltas)

    @property
    def changes_output(self) -> bool:
        return any(
            part is not None
            for folded, _ in self.acting
            for part in (folded.output_scale, folded.output_shift, folded.low_rank, folded.tokens)
        )

    def replace(
        self, target: nn.Module, name: str, count: int | None, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any
    ) -> Any:
        """`out` with the rows that a copy gives in the place of `target` (called `name`), or attention with weights of
        its own. Run it without a routing."""
        if self._deltas and isinstance(target, nn.MultiheadAttention):
            return put_rows(out, self.rows, attend(target, self._deltas, self.rows, count, args, kwargs))
        if self._copy is None:
            return out
        # A copy runs after the base's module, which has put its own keys and values there already.
        if any(isinstance(leaf, Cache) for leaf in tree_iter((args, kwargs))):
            raise Invalid(
                f"The adapter has its own copy of {name!r}, which writes to a cache of keys and values that the "
                "base model uses too. Run without a cache, or save the modules inside it instead."
            )
        own_args, own_kwargs = take_rows((args, kwargs), self.rows, count)
        return put_rows(out, self.rows, self._copy(*own_args, **own_kwargs))

    def apply(self, y: Tensor, x: Tensor, target: nn.Module, add_low_rank: AddLowRank, spatial: int) -> None:
        """`y = y ∘ output_scale + output_shift + Σ weight · low_rank(x)`, and own token rows; in place.

        Half precision is summed up as `widened`, and rounds once. `spatial` dimensions are behind the features.
        """
        own, x = y[self.rows], x[self.rows]
        out = widened(own)
        for folded, weight in self.acting:
            if folded.output_scale is not None:
                out.mul_(over_features(folded.output_scale, spatial))
            if folded.output_shift is not None:
                out.add_(over_features(folded.output_shift, spatial))
            if folded.low_rank is not None:
                x_dropped = F.dropout(x, folded.dropout) if folded.dropout else x
                add_low_rank(out, x_dropped, folded.low_rank, weight, target)
            if folded.tokens is not None:
                place_tokens(out, x, folded.tokens, target)
        if out is not own:
            own.copy_(out)

    @property
    def _copy(self) -> nn.Module | None:
        folded, _ = self.acting[0]
        return folded.copy

    @property
    def _deltas(self) -> list[tuple[AttentionDelta, float]]:
        return [(folded.attention, weight) for folded, weight in self.acting if folded.attention is not None]
