"""Low-rank additions in `nn.MultiheadAttention`, which reads its projection weights instead of calling layers.

The rows' weights are summed up for one forward of torch's own, on a module that shares all the rest with the target: so
every option of its `forward` works. The base's weights are never written.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from models_registry.adapters.copies import copy_with
from models_registry.adapters.folded import AttentionDelta, LowRank, serving_dtype
from models_registry.injection.routing.rows import RowsOf, take_rows

NAMES = ("query", "key", "value", "key_padding_mask", "need_weights", "attn_mask", "average_attn_weights", "is_causal")
"""The arguments of `nn.MultiheadAttention.forward`, in its order."""


def attend(
    target: nn.MultiheadAttention,
    deltas: Sequence[tuple[AttentionDelta, float]],
    rows: RowsOf,
    count: int | None,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> tuple[Tensor, Tensor | None]:
    """`target.forward` of some rows, with `W + Σ weight · scaling · BA` for each projection."""
    adapted = copy_with(
        target,
        {
            "in_proj_weight": _sum(target.in_proj_weight, [(delta.in_proj, weight) for delta, weight in deltas]),
            "out_proj.weight": _sum(target.out_proj.weight, [(delta.out_proj, weight) for delta, weight in deltas]),
        },
    )
    mask = _by_name(args, kwargs).get("attn_mask")
    taken = take_rows(arguments_of_rows(target, args, kwargs), rows, count)
    # A mask of three dimensions has one plane per row and head; one of two holds for every row.
    if mask is not None and mask.dim() == 3 and isinstance(rows, slice):
        mask = mask.unflatten(0, (-1, target.num_heads))[rows].flatten(0, 1)
    return adapted.forward(**taken, attn_mask=mask)


def arguments_of_rows(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """A module's arguments, the first one first, without those that don't go by rows: an attention module's mask."""
    if not isinstance(module, nn.MultiheadAttention):
        return {**{str(at): value for at, value in enumerate(args)}, **kwargs}
    return {name: value for name, value in _by_name(args, kwargs).items() if name != "attn_mask"}


def _by_name(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    return {**dict(zip(NAMES, args, strict=False)), **kwargs}


def _sum(weight: Tensor, low_ranks: Sequence[tuple[LowRank, float]]) -> Tensor:
    total = weight.detach().to(serving_dtype(weight.dtype))
    for low, share in low_ranks:
        total = total.addmm(low.up, low.down, alpha=share * low.scaling)
    return total.to(weight.dtype)
