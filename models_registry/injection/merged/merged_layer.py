"""Merged copies: a target whose weight has one composition of adapters in it answers at the base's own speed.

Only in float32 and wider: in half precision a sum would round every weight, which an adapter beside the base never
does. The base's weights are read, never written.
"""
# `get_parameter` raises where there is none, and for a bias of None.
# pyright: reportPrivateUsage=false

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from models_registry.adapters.copies import copy_with
from models_registry.adapters.folded import Folded
from models_registry.records import LayerKind

MULTIPLYING: Final[Mapping[LayerKind | None, Callable[..., Any]]] = {
    "linear": nn.Linear.forward,
    "hf_conv1d": Conv1D.forward,
}
"""The forwards that multiply by the weight and add the bias, no more. A subclass may do anything with the product."""


def can_merge(target: nn.Module, kind: LayerKind | None, acting: Sequence[tuple[Folded, float]]) -> bool:
    """Whether `acting` can stand in the weight of `target`: all that they do, on a layer that has such a weight."""
    weight = target._parameters.get("weight")  # a parametrised layer has none
    return (
        type(target).forward is MULTIPLYING.get(kind)
        and weight is not None
        and weight.dtype.itemsize >= 4
        and bool(acting)
        and all(_is_mergeable(folded) for folded, _ in acting)
    )


def merge(target: nn.Module, kind: LayerKind | None, acting: Sequence[tuple[Folded, float]]) -> nn.Module | None:
    """`target` with `acting`, which it `can_merge`, in its weight and bias, sharing all else. None where what is added
    is larger than the weight itself: their sum would round more than separate products do."""
    # Later forwards may track gradients of their inputs, even where this one doesn't.
    with torch.inference_mode(False), torch.no_grad():
        base = target.get_parameter("weight").detach()
        weight = base.T if kind == "hf_conv1d" else base  # [out, in]
        bias = target._parameters.get("bias")
        largest = torch.linalg.vector_norm(weight)
        for folded, share in acting:
            added = _added(folded, share, weight)
            if not torch.linalg.vector_norm(added) <= largest:
                return None
            weight, bias = _with(folded, share, weight, added, bias)
        weight = (weight.T if kind == "hf_conv1d" else weight).contiguous()
        return copy_with(target, {"weight": weight} if bias is None else {"weight": weight, "bias": bias.detach()})


def _is_mergeable(folded: Folded) -> bool:
    unlike = (folded.attention, folded.tokens, folded.copy)
    trained = any(tensor.requires_grad for tensor in folded.tensors)
    return folded.dropout == 0 and not trained and all(part is None for part in unlike)


def _added(folded: Folded, share: float, weight: Tensor) -> Tensor:
    """The low-rank part, as large as `weight`."""
    low = folded.low_rank
    return torch.zeros_like(weight) if low is None else (low.up @ low.down).mul_(share * low.scaling)


def _with(
    folded: Folded, share: float, weight: Tensor, added: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """`y = base(x ∘ input_scale) ∘ output_scale + output_shift + share · low_rank(x ∘ input_scale)`: new tensors."""
    if folded.output_scale is not None:
        weight = weight * folded.output_scale[:, None]
        bias = None if bias is None else bias * folded.output_scale
    shifts = [] if folded.output_shift is None else [folded.output_shift]
    if folded.low_rank is not None and folded.low_rank.bias is not None:
        shifts.append(share * folded.low_rank.scaling * folded.low_rank.bias)
    for shift in shifts:
        bias = shift if bias is None else bias + shift
    weight = weight + added
    return weight if folded.input_scale is None else weight * folded.input_scale, bias
