"""How strongly an adapter acts at each of its targets, and how far two of them are apart, without the base's weights.

What a low-rank adapter adds at a target is ΔW = scaling·B·A. Its norm, and the product of two of them, need the small
matrices BᵀB and AAᵀ only, so that no ΔW is ever made.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models_registry.adapters.checkpoint import Checkpoint
from models_registry.adapters.folded import LowRank
from models_registry.adapters.ia3 import IA3Config
from models_registry.adapters.lora import OUT_PROJ_FACTOR
from models_registry.records import ModuleInfo

MOST_DECOMPOSED = 256
"""Above this rank the effective rank isn't computed: a decomposition takes about r³ operations a target."""


@dataclass(frozen=True, slots=True)
class Strength:
    """At one target. `norm` is the Frobenius norm of ΔW, for IA³ of (l - 1). `effective_rank` is the exponential of the
    singular values' entropy (Roy and Vetterli, 2007): 1 where one direction does everything, r where all do the same;
    None for IA³, for no change at all, and above `MOST_DECOMPOSED`."""

    target: str
    norm: float
    effective_rank: float | None


@dataclass(frozen=True, slots=True)
class TargetDifference:
    """At one target of two adapters; None where one of them doesn't act there. `change` is the norm of the difference
    of both ΔW; `cosine` is 1 where they point the same way, None where one of them is nothing."""

    target: str
    before: Strength | None
    after: Strength | None
    change: float
    cosine: float | None


def strengths(checkpoint: Checkpoint) -> tuple[Strength, ...]:
    """In the model's order. DoRA's magnitudes and what replaces whole modules or rows don't count."""
    return tuple(_strength(target, delta) for target, delta in _deltas(checkpoint).items())


def differences(before: Checkpoint, after: Checkpoint) -> tuple[TargetDifference, ...]:
    """In the model's order, then what only the later one has."""
    old, new = _deltas(before), _deltas(after)
    return tuple(_difference(target, old.get(target), new.get(target)) for target in dict.fromkeys((*old, *new)))


@dataclass(frozen=True, slots=True)
class _LowRankDelta:
    """`parts` act side by side on one target: an attention module has two."""

    parts: Sequence[LowRank]

    def dot(self, other: "_Delta") -> float | None:
        if not isinstance(other, _LowRankDelta) or len(other.parts) != len(self.parts):
            return None
        return sum(_dot(one, two) for one, two in zip(self.parts, other.parts, strict=True))

    @property
    def effective_rank(self) -> float | None:
        if any(len(part.down) > MOST_DECOMPOSED for part in self.parts):
            return None
        return _effective_rank(torch.cat([_singular_values(part) for part in self.parts]))


@dataclass(frozen=True, slots=True)
class _ScaleDelta:
    """An IA³ vector, less one."""

    vector: Tensor

    def dot(self, other: "_Delta") -> float | None:
        if not isinstance(other, _ScaleDelta) or len(other.vector) != len(self.vector):
            return None
        return float(self.vector @ other.vector)

    @property
    def effective_rank(self) -> float | None:
        return None


_Delta = _LowRankDelta | _ScaleDelta


def _deltas(checkpoint: Checkpoint) -> Mapping[str, _Delta]:
    return {target.name: _delta(checkpoint, target) for target in checkpoint.targets}


def _delta(checkpoint: Checkpoint, target: ModuleInfo) -> _Delta:
    config = checkpoint.config
    tensors = {key: checkpoint.tensors[f"{target.name}.{key}"].double() for key in config.shapes(target)}
    if isinstance(config, IA3Config):
        return _ScaleDelta(tensors["ia3_l"].flatten() - 1)
    parts = config.low_ranks(target, tensors)
    if len(parts) == 2:  # an attention module's in_proj and out_proj
        in_proj, out_proj = parts
        parts = [in_proj, LowRank(out_proj.down, out_proj.up, OUT_PROJ_FACTOR * out_proj.scaling)]
    return _LowRankDelta(parts)


def _strength(target: str, delta: _Delta) -> Strength:
    return Strength(target, _norm(delta), delta.effective_rank)


def _difference(target: str, before: _Delta | None, after: _Delta | None) -> TargetDifference:
    old = None if before is None else _strength(target, before)
    new = None if after is None else _strength(target, after)
    norms = [0.0 if strength is None else strength.norm for strength in (old, new)]
    dot = None if before is None or after is None else before.dot(after)
    squared = norms[0] ** 2 + norms[1] ** 2 - 2 * (dot or 0.0)
    cosine = None if dot is None or not all(norms) else max(-1.0, min(1.0, dot / (norms[0] * norms[1])))
    return TargetDifference(target, old, new, math.sqrt(max(0.0, squared)), cosine)


def _norm(delta: _Delta) -> float:
    return math.sqrt(max(0.0, delta.dot(delta) or 0.0))


def _dot(one: LowRank, two: LowRank) -> float:
    """⟨s₁B₁A₁, s₂B₂A₂⟩, the sum over all entries of both products."""
    ups = _columns(one).T @ _columns(two)
    downs = _rows(one) @ _rows(two).T
    return one.scaling * two.scaling * float((ups * downs).sum())


def _singular_values(part: LowRank) -> Tensor:
    upper = torch.linalg.qr(_columns(part)).R
    lower = torch.linalg.qr(_rows(part).T).R
    return torch.linalg.svdvals(upper @ lower.T)


def _effective_rank(values: Tensor) -> float | None:
    if not (total := float(values.sum())):
        return None
    shares = values[values > 0] / total
    return math.exp(-float((shares * shares.log()).sum()))


def _rows(part: LowRank) -> Tensor:
    """A, `[r, in]`; a convolution's kernel is part of `in`."""
    return part.down.flatten(1)


def _columns(part: LowRank) -> Tensor:
    """B, `[out, r]`."""
    return part.up.flatten(1)
