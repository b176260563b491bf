"""LoRA, rank-stabilised LoRA, and their patterns (Hu et al. 2021; Kalajdzievski 2023), as PEFT 0.21.2 computes them."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn

from models_registry.adapters.method import Folded, Indices, LowRank, MethodConfig, Names
from models_registry.adapters.patterns import first_match
from models_registry.records import LayerKind, ModuleInfo

REWRITES_BASE = "rewrites the base weights, which other adapters share; convert the adapter to plain LoRA first"
NOT_YET = "is not supported yet"
OTHER_VARIANT = "is a variant that is not served; plain LoRA is"

INITIALISATIONS = ("gaussian", "orthogonal", "mica")
REWRITING = ("pissa", "olora", "loftq", "corda", "eva", "lora_ga")

Rank = Annotated[int, Field(gt=0)]
Dropout = Annotated[float, Field(ge=0, le=1)]


class LoraFields(MethodConfig):
    """PEFT's `LoraConfig` fields, which its `AdaLoraConfig` inherits."""

    composable = True
    refused: ClassVar[Mapping[str, str]] = {
        "use_dora": NOT_YET,
        "lora_bias": NOT_YET,
        "modules_to_save": NOT_YET,
        "trainable_token_indices": NOT_YET,
        "target_parameters": "(adapters on bare parameters) is not served",
        "layer_replication": "changes the base model's own layers, which other adapters share",
        "ensure_weight_tying": NOT_YET,
        "loftq_config": REWRITES_BASE,
        "eva_config": REWRITES_BASE,
        "corda_config": REWRITES_BASE,
        "lora_ga_config": REWRITES_BASE,
        "velora_config": OTHER_VARIANT,
        "alora_invocation_tokens": OTHER_VARIANT,
        "use_qalora": OTHER_VARIANT,
        "monteclora_config": OTHER_VARIANT,
        "use_bdlora": OTHER_VARIANT,
        "arrow_config": OTHER_VARIANT,
        "kasa_config": OTHER_VARIANT,
        "megatron_config": "(Megatron's parallel layers) is not served",
    }

    r: Rank = 8
    lora_alpha: int | float = 8
    lora_dropout: Dropout = 0.0
    bias: Literal["none", "all", "lora_only"] = "none"
    use_rslora: bool = False
    init_lora_weights: bool | str = True
    layers_to_transform: Indices | int | None = None
    layers_pattern: Names | str | None = None
    alpha_pattern: dict[str, int | float] | None = None
    megatron_config: dict[str, Any] | None = None
    megatron_core: str | None = "megatron.core"
    trainable_token_indices: Indices | dict[str, Indices] | None = None
    loftq_config: dict[str, Any] | None = None
    eva_config: dict[str, Any] | None = None
    corda_config: dict[str, Any] | None = None
    lora_ga_config: dict[str, Any] | None = None
    use_dora: bool = False
    velora_config: dict[str, Any] | None = None
    alora_invocation_tokens: Indices | None = None
    use_qalora: bool = False
    qalora_group_size: int = 16
    monteclora_config: dict[str, Any] | None = None
    layer_replication: list[Any] | None = None
    lora_bias: bool = False
    target_parameters: Names | None = None
    use_bdlora: dict[str, Any] | bool | None = None
    arrow_config: dict[str, Any] | None = None
    kasa_config: dict[str, Any] | None = None
    ensure_weight_tying: bool = False

    @model_validator(mode="after")
    def _chooses_layers_of_a_list(self) -> Self:
        for field in ("layers_to_transform", "layers_pattern"):
            if isinstance(self.target_modules, str) and getattr(self, field) is not None:
                raise ValueError(f"{field} goes with a list of target_modules only, not with {self.target_modules!r}")
        if self.layers_pattern and not self.layers_to_transform and self.layers_to_transform != 0:
            raise ValueError("layers_pattern says where layers_to_transform are counted, which is not given")
        return self

    @field_validator("init_lora_weights")
    @classmethod
    def _leaves_the_base_alone(cls, value: bool | str) -> bool | str:
        if isinstance(value, bool) or value in INITIALISATIONS:
            return value
        raise ValueError(f"{value!r} {REWRITES_BASE}" if value.startswith(REWRITING) else f"{value!r} is unknown")

    @field_validator("bias")
    @classmethod
    def _no_bias_yet(cls, value: str) -> str:
        if value != "none":
            raise ValueError(f"bias={value!r} {NOT_YET}")
        return value


class LoraConfig(LoraFields):
    kinds: ClassVar[frozenset[LayerKind]] = frozenset(
        {"linear", "hf_conv1d", "embedding", "conv1d", "conv2d", "conv3d"}
    )

    peft_type: Literal["LORA"] = "LORA"
    rank_pattern: dict[str, Rank] | None = None

    def rank(self, target: ModuleInfo) -> int:
        return first_match(self.rank_pattern, target.name, self.r)

    def scaling(self, target: ModuleInfo) -> float:
        alpha = first_match(self.alpha_pattern, target.name, self.lora_alpha)
        rank = self.rank(target)
        return alpha / (math.sqrt(rank) if self.use_rslora else rank)

    def refusal(self, target: ModuleInfo) -> str | None:
        rank = self.rank(target)
        if rank % target.groups:
            return f"its rank {rank} must be a multiple of the convolution's {target.groups} groups"
        return None

    def fresh_refusal(self, target: ModuleInfo) -> str | None:
        rank = self.rank(target)
        match self.init_lora_weights, target.kind:
            case "mica", _:
                return 'init_lora_weights="mica" starts from the base weights; upload its weights instead'
            case "orthogonal", "linear" | "hf_conv1d":
                return f'init_lora_weights="orthogonal" needs an even rank, not {rank}' if rank % 2 else None
            case "orthogonal", _:
                return 'init_lora_weights="orthogonal" is for linear layers only'
            case _:
                return None

    def shapes(self, target: ModuleInfo) -> dict[str, tuple[int, ...]]:
        r, n_in, n_out = self.rank(target), target.in_features, target.out_features
        if target.kind == "embedding":
            return {"lora_embedding_A": (r, n_in), "lora_embedding_B": (n_out, r)}
        ones = (1,) * len(target.kernel_size)
        return {
            "lora_A.weight": (r, n_in, *target.kernel_size),  # over all channels, also where the base has groups
            "lora_B.weight": (n_out, r // target.groups, *ones),
        }

    def initial_weights(self, target: ModuleInfo, generator: torch.Generator) -> dict[str, Tensor]:
        key_a, key_b = (shapes := self.shapes(target))
        a, b = (torch.zeros(shape) for shape in shapes.values())
        match self.init_lora_weights, target.kind:
            case "orthogonal", _:
                a, b = _orthogonal(target, self.rank(target), generator)
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
        return {key_a: a, key_b: b}

    def fold(self, target: ModuleInfo, tensors: Mapping[str, Tensor]) -> Folded:
        down, up = (tensors[key] for key in self.shapes(target))
        return Folded(low_rank=LowRank(down, up, self.scaling(target)))


def _orthogonal(target: ModuleInfo, rank: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A and B with orthogonal row and column spaces (datta0, "Rethinking LoRA initialisation"); `rank` is even."""
    q, _ = torch.linalg.qr(torch.randn(rank, rank, generator=generator))
    a = torch.randn(target.in_features, rank // 2, generator=generator).mm(q[0::2]).T / 10.0
    b = torch.randn(rank // 2, target.out_features, generator=generator).T.mm(q[1::2]) / 10.0
    return a.contiguous(), b.contiguous()
