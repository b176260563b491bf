"""The arithmetic at a target module: low-rank additions and scales, written into the base layer's fresh output.

Shapes: `x` `[n, …, in]` and `out` `[n, …, out]` for linear layers, channels second for convolutions. `out` belongs to
this forward alone, so adding in place saves a copy of it.
"""

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import torch.nn.functional as F
from torch import Tensor, nn

from models_registry.adapters.method import LowRank
from models_registry.records import LayerKind

AddLowRank: TypeAlias = Callable[[Tensor, Tensor, LowRank, float, nn.Module], None]


def add_linear(out: Tensor, x: Tensor, low: LowRank, weight: float, layer: nn.Module) -> None:
    """`out += weight · scaling · x Aᵀ Bᵀ`, the second product and the addition in one kernel where strides allow."""
    h = F.linear(x.to(low.down.dtype), low.down)  # [n, …, r]
    if out.is_contiguous() and out.dtype == h.dtype:
        out.view(-1, out.shape[-1]).addmm_(
            h.flatten(0, -2) if h.dim() > 1 else h[None], low.up.T, alpha=weight * low.scaling
        )
    else:
        out.add_(F.linear(h, low.up), alpha=weight * low.scaling)


def add_embedding(out: Tensor, ids: Tensor, low: LowRank, weight: float, layer: nn.Module) -> None:
    """`out += weight · scaling · A.T[ids] Bᵀ`, times the layer's own `embed_scale` if it multiplies its rows by one."""
    delta = F.embedding(ids, low.down.T) @ low.up.T  # [n, …, dim]
    # transformers' scaled embeddings (Gemma, BART) multiply inside their forward; there is no common base class to ask.
    scale = getattr(layer, "embed_scale", 1.0)
    out.add_(delta * scale, alpha=weight * low.scaling)


def add_convolution(out: Tensor, x: Tensor, low: LowRank, weight: float, layer: nn.Module) -> None:
    """`out += weight · scaling · B * (A * x)`: A with the base's stride, padding, dilation and groups, then 1x1 B."""
    assert isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d)
    # The one place in torch that knows stride, dilation, groups and padding_mode together; private, but old.
    h = layer._conv_forward(x.to(low.down.dtype), low.down, None)  # pyright: ignore[reportPrivateUsage]
    pointwise = (F.conv1d, F.conv2d, F.conv3d)[len(layer.kernel_size) - 1]
    out.add_(pointwise(h, low.up, groups=layer.groups), alpha=weight * low.scaling)


ADD_LOW_RANK: Final[Mapping[LayerKind, AddLowRank]] = {
    "linear": add_linear,
    "hf_conv1d": add_linear,
    "embedding": add_embedding,
    "conv1d": add_convolution,
    "conv2d": add_convolution,
    "conv3d": add_convolution,
}


def over_features(scale: Tensor, spatial: int) -> Tensor:
    """A vector over features or channels, shaped to multiply a tensor with `spatial` dimensions behind them."""
    return scale.view(-1, *(1,) * spatial)
