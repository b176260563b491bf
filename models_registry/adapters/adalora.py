"""AdaLoRA (Zhang et al. 2023): `ΔW = B diag(E) A`, its ranks pruned during training, as PEFT 0.21.2 stores it."""

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from models_registry.adapters.folded import Folded, LowRank
from models_registry.adapters.lora_fields import LoraFields, Rank
from models_registry.adapters.method import PEFT_PREFIX, BaseWeights
from models_registry.records import LayerKind, ModuleInfo


class AdaLoraConfig(LoraFields):
    kinds: ClassVar[frozenset[LayerKind]] = frozenset({"linear", "hf_conv1d", "conv2d"})
    refused: ClassVar[Mapping[str, str]] = {
        **LoraFields.refused,
        "use_dora": "does not exist for AdaLoRA",
        "lora_bias": "does not exist for AdaLoRA",
    }

    peft_type: Literal["ADALORA"] = "ADALORA"
    target_r: Rank = 8
    init_r: Rank = 12
    tinit: Annotated[int, Field(ge=0)] = 0
    tfinal: Annotated[int, Field(ge=0)] = 0
    deltaT: Annotated[int, Field(gt=0)] = 1  # noqa: N815 - PEFT's field name
    beta1: float = 0.85
    beta2: float = 0.85
    orth_reg_weight: Annotated[float, Field(ge=0)] = 0.5
    total_step: int | None = None
    rank_pattern: dict[str, list[bool]] | None = None
    """Masks of the ranks that pruning kept: `{"linear.lora_E": [bool × init_r]}`."""

    @model_validator(mode="after")
    def _leaves_time_to_prune(self) -> Self:
        if self.total_step is not None and self.tinit >= self.total_step - self.tfinal:
            raise ValueError(
                f"tinit {self.tinit} must be less than total_step - tfinal = {self.total_step - self.tfinal}: "
                "the schedule leaves no steps for pruning"
            )
        return self

    @cached_property
    def masks(self) -> dict[str, list[bool]]:
        """`rank_pattern` by the target's name."""
        pattern = self.rank_pattern or {}
        return {key.removeprefix(PEFT_PREFIX).split(".lora_E")[0]: mask for key, mask in pattern.items()}

    def rank(self, target: ModuleInfo) -> int:
        """How many ranks pruning left at `target`; may be 0."""
        mask = self.masks.get(target.name)
        return self.init_r if mask is None else sum(mask)

    def refusal(self, target: ModuleInfo) -> str | None:
        if target.groups > 1:
            return "AdaLoRA's product has the shape of an ungrouped convolution's weight; this one has groups"
        mask = self.masks.get(target.name)
        if mask is not None and len(mask) != self.init_r:
            return f"its rank_pattern mask has {len(mask)} entries where init_r is {self.init_r}"
        return None

    def shapes(self, target: ModuleInfo) -> dict[str, tuple[int, ...]]:
        r, n_in = self.rank(target), target.in_features
        for size in target.kernel_size:
            n_in *= size
        return {"lora_A": (r, n_in), "lora_B": (target.out_features, r), "lora_E": (r, 1)}

    def initial_weights(self, target: ModuleInfo, generator: torch.Generator, base: BaseWeights) -> dict[str, Tensor]:
        weights = {key: torch.randn(shape, generator=generator) for key, shape in self.shapes(target).items()}
        if self.init_lora_weights is False:
            return weights
        return {"lora_A": weights["lora_A"] * 0.02, "lora_B": weights["lora_B"] * 0.02, "lora_E": weights["lora_E"] * 0}

    def low_ranks(self, target: ModuleInfo, tensors: Mapping[str, Tensor]) -> list[LowRank]:
        """A' = A∘E; the divisor stays `init_r` after pruning, as when the kept ranks were trained."""
        a, b, e = tensors["lora_A"], tensors["lora_B"], tensors["lora_E"]
        e = e.to(torch.promote_types(e.dtype, torch.float32))  # the product is rounded once, not twice
        kernel = target.kernel_size
        down = (a * e).reshape(len(e), target.in_features, *kernel)
        up = b.reshape(*b.shape, *(1 for _ in kernel))
        scaling = self.lora_alpha if self.lora_alpha > 0 else float(self.init_r)
        return [LowRank(down, up, scaling / (self.init_r + 1e-5))]

    def fold(self, target: ModuleInfo, tensors: Mapping[str, Tensor], layer: nn.Module) -> Folded:
        (low_rank,) = self.low_ranks(target, tensors)
        return Folded(low_rank=low_rank)
