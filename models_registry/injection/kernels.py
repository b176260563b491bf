"""The arithmetic at a target module: low-rank additions and scales, written into the base layer's fresh output.

Shapes: `x` `[n, …, in]` and `out` `[n, …, out]` for linear layers, channels second for convolutions. `out` belongs to
this forward alone, so adding in place saves a copy of it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models_registry.adapters.folded import LowRank, TokenRows
from models_registry.injection.stacks import Addition
from models_registry.records import LayerKind

AddLowRank: TypeAlias = Callable[[Tensor, Tensor, LowRank, float, nn.Module], None]


def add_in_segments(
    out: Tensor, x: Tensor, parts: Sequence[Addition], add_low_rank: AddLowRank, layer: nn.Module
) -> None:
    """One adapter after the other, each for its own rows; several at one row round once, as in `widened`."""
    for part in parts:
        own, x_own = (out, x) if part.rows is Ellipsis else (out[part.rows], x[part.rows])
        total = own if len(part.low_ranks) == 1 else widened(own)
        for low, weight in part.low_ranks:
            add_low_rank(total, x_own, low, weight, layer)
        if total is not own:
            own.copy_(total)


def widened(own: Tensor) -> Tensor:
    """Half precision in float32, so that a sum rounds once, as PEFT's does with float32 adapters; else itself."""
    return own.float() if own.dtype.itemsize < 4 else own


def add_linear(out: Tensor, x: Tensor, low: LowRank, weight: float, layer: nn.Module) -> None:
    """`out += weight · scaling · x Aᵀ Bᵀ`, the second product and the addition in one kernel where strides allow.

    In half precision A and B are float32, and adding their product rounds once, into `out`.
    """
    h = torch.mm(x.reshape(-1, x.shape[-1]).to(low.down.dtype), low.down.T)  # [tokens, r]
    if out.is_contiguous() and out.dtype == h.dtype == low.up.dtype:  # they differ in half precision and under autocast
        out.view(-1, out.shape[-1]).addmm_(h, low.up.T, alpha=weight * low.scaling)
        if low.bias is not None:
            out.add_(low.bias, alpha=weight * low.scaling)
    else:
        out.add_(F.linear(h, low.up, low.bias).view(out.shape), alpha=weight * low.scaling)


def add_embedding(out: Tensor, ids: Tensor, low: LowRank, weight: float, layer: nn.Module) -> None:
    """`out += weight · scaling · A.T[ids] Bᵀ`, times the layer's own `embed_scale` if it multiplies its rows by one."""
    delta = F.embedding(ids, low.down.T) @ low.up.T  # [n, …, dim]
    # transformers' scaled embeddings (Gemma, BART) multiply inside their forward; there is no common base class to ask.
    scale = getattr(layer, "embed_scale", 1.0)
    out.add_(delta * scale, alpha=weight * low.scaling)


def add_convolution(out: Tensor, x: Tensor, low: LowRank, weight: float, layer: nn.Module) -> None:
    """`out += weight · scaling · B * (A * x)`: A with the base's stride, padding, padding mode and dilation, B 1x1 in
    the base's groups. A sees every channel, as PEFT trains it."""
    assert isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d)
    if low.up.numel() == 0:  # rank 0: torch has no convolution without channels
        return
    convolve = CONVOLVE[len(layer.kernel_size)]
    x, padding = x.to(low.down.dtype), layer.padding
    if layer.padding_mode != "zeros":
        # How torch itself pads in the other modes: "same" and numbers alike, worked out once by the layer.
        widths = layer._reversed_padding_repeated_twice  # pyright: ignore[reportPrivateUsage]
        x, padding = F.pad(x, widths, mode=layer.padding_mode), 0
    h = convolve(x, low.down, None, layer.stride, padding, layer.dilation)
    out.add_(convolve(h, low.up, low.bias, groups=layer.groups), alpha=weight * low.scaling)


CONVOLVE: Final[Mapping[int, Callable[..., Tensor]]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
"""By the number of spatial dimensions."""

ADD_LOW_RANK: Final[Mapping[LayerKind, AddLowRank]] = {
    "linear": add_linear,
    "hf_conv1d": add_linear,
    "embedding": add_embedding,
    "conv1d": add_convolution,
    "conv2d": add_convolution,
    "conv3d": add_convolution,
}


def place_tokens(out: Tensor, x: Tensor, tokens: TokenRows, layer: nn.Module) -> None:
    """An embedding's rows at the tokens' ids; on a layer tied to it, the logits that the same rows give."""
    if isinstance(layer, nn.Embedding):
        at = torch.searchsorted(tokens.indices, x).clamp(max=len(tokens.indices) - 1)
        values = tokens.values[at] * getattr(layer, "embed_scale", 1.0)
        out.copy_(torch.where((tokens.indices[at] == x).unsqueeze(-1), values, out))
    else:
        bias = getattr(layer, "bias", None)
        logits = F.linear(x.to(tokens.values.dtype), tokens.values)
        out[..., tokens.indices] = (logits if bias is None else logits + bias[tokens.indices]).to(out.dtype)


def over_features(scale: Tensor, spatial: int) -> Tensor:
    """A vector over features or channels, shaped to multiply a tensor with `spatial` dimensions behind them."""
    return scale.view(-1, *(1,) * spatial)
