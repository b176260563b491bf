"""LoRA, rank-stabilised LoRA and DoRA, with their patterns, as PEFT 0.21.2 computes them.

Hu et al. 2021; Kalajdzievski 2023; Liu et al. 2024.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from models_registry.adapters.dora import fold_dora, magnitude_of
from models_registry.adapters.folded import AttentionDelta, Folded, LowRank
from models_registry.adapters.lora_fields import TRAINING_ONLY, LoraFields, Rank, Ranks
from models_registry.adapters.method import BaseWeights
from models_registry.adapters.pattern_keys import PatternKeys
from models_registry.records import LayerKind, ModuleInfo

MAGNITUDE = "lora_magnitude_vector"
OUT_PROJ_FACTOR = 2
"""PEFT 0.21.2 adds an attention module's out_proj delta twice, in training as well: its tensors are meant so."""

MOST_ORTHOGONAL = 2_048
"""The greatest rank of an orthogonal start, which decomposes a square matrix of that rank for each target."""


@dataclass(frozen=True, slots=True)
class Pair:
    """The keys and shapes of one A and B, and of B's bias. A layer has one pair, an attention module two."""

    a: str
    b: str
    shape_a: tuple[int, ...]
    shape_b: tuple[int, ...]
    bias: str | None = None


class LoraConfig(LoraFields):
    kinds: ClassVar[frozenset[LayerKind]] = frozenset(
        {"linear", "hf_conv1d", "embedding", "conv1d", "conv2d", "conv3d", "attention"}
    )

    peft_type: Literal["LORA"] = "LORA"
    rank_pattern: Ranks = Field(default_factory=dict[str, Rank])

    @model_validator(mode="after")
    def _has_one_of_dora_and_bias(self) -> Self:
        if self.use_dora and self.lora_bias:
            raise ValueError("use_dora and lora_bias don't go together; choose one")
        return self

    @cached_property
    def rank_keys(self) -> PatternKeys[int]:
        """`rank_pattern`, made ready to be asked."""
        return PatternKeys(self.rank_pattern, self.expressions)

    def rank(self, target: ModuleInfo) -> int:
        return self.rank_keys.first(target.name, self.r)

    def scaling(self, target: ModuleInfo) -> float:
        alpha = self.alpha_keys.first(target.name, self.lora_alpha)
        rank = self.rank(target)
        return alpha / (math.sqrt(rank) if self.use_rslora else rank)

    def refusal(self, target: ModuleInfo) -> str | None:
        rank = self.rank(target)
        if rank % target.groups:
            return f"its rank {rank} must be a multiple of the convolution's {target.groups} groups"
        if self.use_dora and target.kind == "attention":
            return "use_dora does not exist for attention modules"
        if self.lora_bias and target.kind in ("embedding", "attention"):
            return f"lora_bias does not exist for {target.kind} modules"
        return None

    def fresh_refusal(self, target: ModuleInfo) -> str | None:
        if trained := [field for field in TRAINING_ONLY if getattr(self, field)]:
            return f"{trained[0]} changes training alone, and no adapter is trained here; upload its weights instead"
        match self.init_lora_weights, target.kind:
            case "mica", _:
                return 'init_lora_weights="mica" starts from the base weights; upload its weights instead'
            case "eva", _:
                return 'init_lora_weights="eva" starts from what the base computes on data; upload its weights instead'
            case "orthogonal", "linear" | "hf_conv1d":
                return _orthogonal_refusal(self.rank(target))
            case "orthogonal", _:
                return 'init_lora_weights="orthogonal" is for linear layers only'
            case _:
                return None

    def shapes(self, target: ModuleInfo) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {}
        for pair in self.pairs(target):
            shapes |= {pair.a: pair.shape_a, pair.b: pair.shape_b}
            if pair.bias is not None:
                shapes[pair.bias] = (target.out_features,)
        if self.use_dora:
            around = (1,) * len(target.kernel_size)
            shapes[MAGNITUDE] = (1, target.out_features, *around) if around else (target.out_features,)
        return shapes

    def initial_weights(self, target: ModuleInfo, generator: torch.Generator, base: BaseWeights) -> dict[str, Tensor]:
        weights: dict[str, Tensor] = {}
        for pair in self.pairs(target):
            weights[pair.a], weights[pair.b] = self._initial_pair(pair, target, generator)
            if pair.bias is not None:
                weights[pair.bias] = torch.zeros(target.out_features)
        if self.use_dora and target.kind is not None:
            (pair,) = self.pairs(target)
            low_rank = LowRank(weights[pair.a], weights[pair.b], self.scaling(target))
            magnitude = magnitude_of(base(f"{target.name}.weight").cpu(), low_rank, target.kind)
            weights[MAGNITUDE] = magnitude.reshape(self.shapes(target)[MAGNITUDE])
        return weights

    def low_ranks(self, target: ModuleInfo, tensors: Mapping[str, Tensor]) -> list[LowRank]:
        """What each of the `pairs` adds."""
        return [
            LowRank(tensors[p.a], tensors[p.b], self.scaling(target), None if p.bias is None else tensors[p.bias])
            for p in self.pairs(target)
        ]

    def fold(self, target: ModuleInfo, tensors: Mapping[str, Tensor], layer: nn.Module) -> Folded:
        low_ranks = self.low_ranks(target, tensors)
        match low_ranks, target.kind:
            case [in_proj, out_proj], _:
                doubled = replace(out_proj, scaling=OUT_PROJ_FACTOR * out_proj.scaling)
                return Folded(attention=AttentionDelta(in_proj, doubled))
            case [low_rank], kind if self.use_dora and kind is not None:
                return fold_dora(low_rank, tensors[MAGNITUDE], layer, kind)
            case _:
                return Folded(low_rank=low_ranks[0])

    def pairs(self, target: ModuleInfo) -> Iterator[Pair]:
        """One for a layer, two for an attention module: its in_proj, its out_proj."""
        r, n_in, n_out = self.rank(target), target.in_features, target.out_features
        bias = "lora_B.bias" if self.lora_bias else None
        match target.kind:
            case "embedding":
                yield Pair("lora_embedding_A", "lora_embedding_B", (r, n_in), (n_out, r))
            case "attention":
                yield Pair("lora_A.weight", "lora_B.weight", (r, n_in), (3 * n_out, r))
                out_proj = "base_layer.out_proj"
                yield Pair(f"{out_proj}.lora_A.weight", f"{out_proj}.lora_B.weight", (r, n_in), (n_out, r))
            case _:
                # Over all channels, also where the base has groups: so PEFT makes it.
                ones = (1,) * len(target.kernel_size)
                a, b = (r, n_in, *target.kernel_size), (n_out, r // target.groups, *ones)
                yield Pair("lora_A.weight", "lora_B.weight", a, b, bias)

    def _initial_pair(self, pair: Pair, target: ModuleInfo, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        a, b = torch.zeros(pair.shape_a), torch.zeros(pair.shape_b)
        match self.init_lora_weights, target.kind:
            case "orthogonal", _:
                return _orthogonal(target, self.rank(target), generator)
            case True | "gaussian", "embedding":
                nn.init.normal_(b, generator=generator)
            case False, "embedding":
                nn.init.normal_(a, generator=generator)
                nn.init.normal_(b, generator=generator)
            case "gaussian", _:
                nn.init.normal_(a, std=1 / self.rank(target), generator=generator)
            case init, _:
                nn.init.kaiming_uniform_(a, a=math.sqrt(5), generator=generator)
                if init is False:
                    nn.init.kaiming_uniform_(b, a=math.sqrt(5), generator=generator)
        return a, b


def _orthogonal_refusal(rank: int) -> str | None:
    if rank % 2:
        return f'init_lora_weights="orthogonal" needs an even rank, not {rank}'
    if rank > MOST_ORTHOGONAL:
        return f'init_lora_weights="orthogonal" takes very long beyond rank {MOST_ORTHOGONAL}, not {rank}'
    return None


def _orthogonal(target: ModuleInfo, rank: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A and B with orthogonal row and column spaces (datta0, "Rethinking LoRA initialisation"); `rank` is even."""
    q, _ = torch.linalg.qr(torch.randn(rank, rank, generator=generator))
    a = torch.randn(target.in_features, rank // 2, generator=generator).mm(q[0::2]).T / 10.0
    b = torch.randn(rank // 2, target.out_features, generator=generator).T.mm(q[1::2]) / 10.0
    return a.contiguous(), b.contiguous()
