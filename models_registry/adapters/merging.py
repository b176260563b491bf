"""Several low-rank parts at one place as one part: the arithmetic of PEFT 0.21.2's `add_weighted_adapter`.

Each part's `scaling` already holds its weight, s = w·alpha/r; the result's is 1. Where B is a grouped convolution, its
groups read the ranks by turns, so that everything is done group by group: `g` groups, g = 1 elsewhere. What B's own
bias adds is no product: in every method it just adds up.
"""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from models_registry.adapters.folded import LowRank
from models_registry.adapters.merge_options import MergeOptions


def merge(
    parts: Sequence[LowRank], options: MergeOptions, rank: int, groups: int, generator: torch.Generator
) -> LowRank:
    """By the options's method; `rank` is what `svd` keeps. For `linear` and those behind it all ranks must be equal."""
    match options.method:
        case "cat":
            return concatenate(parts, groups)
        case "svd":
            return truncate(concatenate(parts, groups), rank, groups)
        case "linear":
            return _by_elements(parts, lambda tensor: tensor, elect=False)
        case "ties":
            return _by_elements(parts, lambda tensor: keep_greatest(tensor, options.density or 1.0), elect=True)
        case "dare_linear" | "dare_ties" as method:
            density = options.density or 1.0
            return _by_elements(
                parts, lambda tensor: keep_random(tensor, density, generator), elect=method == "dare_ties"
            )


def concatenate(parts: Sequence[LowRank], groups: int) -> LowRank:
    """`[B₁ B₂] [s₁A₁; s₂A₂] = Σ sᵢBᵢAᵢ`, exactly, whatever the ranks."""
    downs = [part.scaling * _grouped(part.down, groups) for part in parts]
    return LowRank(torch.cat(downs, dim=1).flatten(0, 1), torch.cat([p.up for p in parts], dim=1), 1.0, _bias(parts))


def truncate(whole: LowRank, rank: int, groups: int) -> LowRank:
    """The nearest product of `rank`, rounded up to a multiple of `groups`, but no greater than the weight allows.

    The singular values of BA are those of the small `R_B R_Aᵀ`, where B = Q_B R_B and Aᵀ = Q_A R_A; the product itself,
    as large as the base's weight, is never made.
    """
    b = whole.up.flatten(1).unflatten(0, (groups, -1)).double()  # [g, out/g, R/g]
    a = _grouped(whole.down, groups).flatten(2).double()  # [g, R/g, in·k]
    q_b, r_b = torch.linalg.qr(b)
    q_a, r_a = torch.linalg.qr(a.mT)
    u, s, vh = torch.linalg.svd(r_b @ r_a.mT, full_matrices=False)
    kept = min(-(-rank // groups), b.shape[1], a.shape[2])
    up = _resize(q_b @ u * s.unsqueeze(1), kept).flatten(0, 1)  # [out, kept]
    down = _resize((vh @ q_a.mT).mT, kept).mT.flatten(0, 1)  # [g·kept, in·k]
    return LowRank(down.to(whole.down.dtype), up.to(whole.up.dtype), 1.0, whole.bias)


def keep_greatest(tensor: Tensor, density: float) -> Tensor:
    """The `density` of numbers that are greatest in magnitude; the others become 0."""
    if density == 1:
        return tensor
    flat = tensor.flatten()
    kept = flat.abs().topk(int(density * flat.numel())).indices
    return torch.zeros_like(flat).index_copy(0, kept, flat[kept]).view_as(tensor)


def keep_random(tensor: Tensor, density: float, generator: torch.Generator) -> Tensor:
    """Each number with the probability `density`, scaled up by what is lost; the others become 0."""
    if density == 1:
        return tensor
    return tensor * torch.bernoulli(torch.full_like(tensor, density), generator=generator) / density


def _by_elements(parts: Sequence[LowRank], prune: Callable[[Tensor], Tensor], *, elect: bool) -> LowRank:
    """A and B apart, each with the root of its part's weight; the sign goes to A."""
    roots = [math.sqrt(abs(part.scaling)) for part in parts]
    signed = [math.copysign(root, part.scaling) for root, part in zip(roots, parts, strict=True)]
    down = _add([prune(part.down) for part in parts], signed, elect)
    up = _add([prune(part.up) for part in parts], roots, elect)
    return LowRank(down, up, 1.0, _bias(parts))


def _add(tensors: Sequence[Tensor], weights: Sequence[float], elect: bool) -> Tensor:
    """The weighted sum; with `elect`, the mean of those that have the sign of the unweighted sum."""
    stacked = torch.stack(list(tensors))  # [parts, …]
    weighted = stacked * torch.tensor(weights, dtype=stacked.dtype).view(-1, *(1 for _ in tensors[0].shape))
    if not elect:
        return weighted.sum(0)
    elected = torch.where(stacked.sum(0) >= 0, 1, -1)
    agrees = stacked.sign() == elected
    return (weighted * agrees).sum(0) / agrees.sum(0).clamp(min=1)


def _bias(parts: Sequence[LowRank]) -> Tensor | None:
    biases = [part.scaling * part.bias for part in parts if part.bias is not None]
    return torch.stack(biases).sum(0) if biases else None


def _grouped(down: Tensor, groups: int) -> Tensor:
    """`[r, …]` -> `[g, r/g, …]`, also where pruning left no rank."""
    return down.unflatten(0, (groups, len(down) // groups))


def _resize(columns: Tensor, count: int) -> Tensor:
    """The first `count` columns, zeros where there aren't so many."""
    return F.pad(columns, (0, count - columns.shape[-1]))
