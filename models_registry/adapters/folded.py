"""The form of an adapter that serving computes with: what it does at one module, whatever its method.

    y = base(x ∘ input_scale) ∘ output_scale + output_shift + low_rank(x)

DoRA folds into it too: `m·(Wx) + b + m·s·BAx` is an output scale m, a shift b·(1 - m), and a low-rank part whose B is
scaled by m.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

OnTensor: TypeAlias = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class LowRank:
    """`scaling · (up(down(x)) + bias)`. Linear: down `[r, in]`, up `[out, r]`, bias `[out]`. Convolution: down has the
    base's kernel, up is 1x1. Embedding: down `[r, num]`, up `[dim, r]`."""

    down: Tensor
    up: Tensor
    scaling: float
    bias: Tensor | None = None

    def map(self, function: OnTensor) -> "LowRank":
        return LowRank(function(self.down), function(self.up), self.scaling, _maybe(function, self.bias))


@dataclass(frozen=True, slots=True)
class AttentionDelta:
    """Low-rank additions to an attention module's own weights: `in_proj_weight` (q, k, v at once) and `out_proj`."""

    in_proj: LowRank
    out_proj: LowRank

    def map(self, function: OnTensor) -> "AttentionDelta":
        return AttentionDelta(self.in_proj.map(function), self.out_proj.map(function))


@dataclass(frozen=True, slots=True)
class TokenRows:
    """Own rows of a weight with one row per token: `values` `[n, dim]` at `indices` `[n]`. An embedding's are looked
    up; a linear layer's give own logits."""

    indices: Tensor
    values: Tensor

    def map(self, function: OnTensor) -> "TokenRows":
        return TokenRows(function(self.indices), function(self.values))


@dataclass(frozen=True, slots=True)
class Folded:
    """What one adapter does at one module; absent parts are None. Scales and shifts are vectors over features or
    channels. A `copy` answers in the module's place. `dropout` acts on the low-rank part's input, in training only."""

    low_rank: LowRank | None = None
    input_scale: Tensor | None = None
    output_scale: Tensor | None = None
    output_shift: Tensor | None = None
    attention: AttentionDelta | None = None
    tokens: TokenRows | None = None
    copy: nn.Module | None = None
    dropout: float = 0.0

    @property
    def addition(self) -> LowRank | None:
        """The low-rank part, if there is nothing else: what nearly every adapter is at nearly every target."""
        return self.low_rank if self._is_only(self.low_rank) else None

    @property
    def rescaling(self) -> Tensor | None:
        """The output scale, if there is nothing else: what IA³ is at most of its targets."""
        return self.output_scale if self._is_only(self.output_scale) else None

    def _is_only(self, part: LowRank | Tensor | None) -> bool:
        tensors = (self.input_scale, self.output_scale, self.output_shift)
        parts = (self.low_rank, self.attention, self.tokens, self.copy, *tensors)
        return self.dropout == 0 and all(other is None or other is part for other in parts)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return tuple(_tensors_in(self))

    def map(self, function: OnTensor) -> "Folded":
        """The same with every tensor replaced: moved to another device, cast to another dtype."""
        return Folded(
            self.low_rank and self.low_rank.map(function),
            _maybe(function, self.input_scale),
            _maybe(function, self.output_scale),
            _maybe(function, self.output_shift),
            self.attention and self.attention.map(function),
            self.tokens and self.tokens.map(function),
            # What `to()` and its kin go through; it changes the copy itself.
            self.copy and self.copy._apply(function),  # pyright: ignore[reportPrivateUsage]
            self.dropout,
        )

    def joined(self, other: "Folded") -> "Folded":
        """Both at one module, such as a target whose bias the adapter replaces too: no part but shifts is in both."""
        absent = Folded()
        parts: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        parts |= {name: getattr(other, name) for name, part in parts.items() if part is getattr(absent, name)}
        if self.output_shift is not None and other.output_shift is not None:
            parts["output_shift"] = self.output_shift + other.output_shift
        return Folded(**parts)


def serving_dtype(base: torch.dtype) -> torch.dtype:
    """What an adapter is computed in beside weights of dtype `base`: that or float32, whichever is wider, for an
    adapter in half precision would round at every step."""
    # torch promotes none of the 8-bit floats.
    return torch.float32 if base.itemsize == 1 else torch.promote_types(base, torch.float32)


def widened(out: Tensor) -> Tensor:
    """Half precision in float32, so that a sum rounds once, as PEFT's does with float32 adapters; else itself.

    Also the faster way: torch adds float32 to half precision in place several times slower than it converts both ways.
    """
    return out.float() if out.dtype.itemsize < 4 else out


def _tensors_in(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, nn.Module):
        yield from value.parameters()
        yield from value.buffers()
    elif is_dataclass(value):
        for field in fields(value):
            yield from _tensors_in(getattr(value, field.name))


def _maybe(function: OnTensor, tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else function(tensor)
