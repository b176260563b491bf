"""The arithmetic at a target module: low-rank additions and scales, written into the base layer's fresh output.

Shapes: `x` `[n, …, in]` and `out` `[n, …, out]` for linear layers, channels second for convolutions. `out` belongs to
this forward alone, so adding in place saves a copy of it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models_registry.adapters.folded import LowRank, TokenRows, widened
from models_registry.injection.kernels.stacked_lora import LowRankDelta
from models_registry.records import LayerKind

AddLowRank: TypeAlias = Callable[[Tensor, Tensor, LowRank, float, nn.Module], None]


def add_in_segments(
    out: Tensor, x: Tensor, parts: Sequence[LowRankDelta], rows: int | None, add_low_rank: AddLowRank, layer: nn.Module
) -> None:
    """One adapter after the other, each for its own of the batch's `rows`; whatever is added at a row rounds once."""
    if add_low_rank is add_linear and out.is_contiguous():
        # Once for all: with many adapters it is calls, not products, that take the time.
        out, x = out.view(-1, out.shape[-1]), x.reshape(-1, x.shape[-1])
    each = 1 if rows is None else len(out) // rows  # the tokens of a row, where they are rows of their own now
    for part in parts:
        if isinstance(part.rows, slice):
            own_rows = slice(part.rows.start * each, part.rows.stop * each)
            own, x_own = out[own_rows], x[own_rows]
        else:
            own, x_own = out, x
        total = widened(own)
        for low, weight in part.low_ranks:
            add_low_rank(total, x_own, low, weight, layer)
        if total is not own:
            own.copy_(total)


def add_linear(out: Tensor, x: Tensor, low: LowRank, weight: float, layer: nn.Module) -> None:
    """`out += weight · scaling · x Aᵀ Bᵀ`, the second product and the addition in one kernel where shapes allow."""
    h = F.linear(x if x.dtype == low.down.dtype else x.to(low.down.dtype), low.down)
    if out.dim() == 2 and out.dtype == h.dtype:  # they differ under autocast
        out.addmm_(h, low.up.T, alpha=weight * low.scaling)
        if low.bias is not None:
            out.add_(low.bias, alpha=weight * low.scaling)
    else:
        out.add_(F.linear(h, low.up, low.bias), alpha=weight * low.scaling)


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
    """An embedding's rows at the tokens' ids; of a linear layer the logits that the same rows give, without a bias."""
    if isinstance(layer, nn.Embedding):
        at = torch.searchsorted(tokens.indices, x).clamp(max=len(tokens.indices) - 1)
        values = tokens.values[at] * getattr(layer, "embed_scale", 1.0)
        out.copy_(torch.where((tokens.indices[at] == x).unsqueeze(-1), values, out))
    else:
        out[..., tokens.indices] = F.linear(x.to(tokens.values.dtype), tokens.values).to(out.dtype)


def over_features(scale: Tensor, spatial: int) -> Tensor:
    """A vector over features or channels, shaped to multiply a tensor with `spatial` dimensions behind them."""
    return scale.view(-1, *(1,) * spatial)
