"""The contract that lora.py, adalora.py and ia3.py fulfil, and the folded form that serving computes with.

A method is its config class: the hyper-parameters with PEFT's names, which layers it takes, the keys and shapes of its
state dict, its initial weights, and how they fold. It knows nothing of module trees, batches or HTTP.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, TypeAlias

import torch
from pydantic import BaseModel, BeforeValidator, ConfigDict
from torch import Tensor

from models_registry.records import LayerKind, ModuleInfo


def _as_tuple(value: object) -> object:
    """PEFT keeps name lists as sets and saves them as lists; a set has no order of its own, so it gets one."""
    if isinstance(value, set | frozenset):
        return tuple(sorted(value, key=str))
    return tuple(value) if isinstance(value, list) else value


Names: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]
Indices: TypeAlias = Annotated[tuple[int, ...], BeforeValidator(_as_tuple)]


@dataclass(frozen=True, slots=True)
class LowRank:
    """`scaling · up(down(x))`. Linear: down `[r, in]`, up `[out, r]`. Convolution: down has the base's kernel, up is
    1x1. Embedding: down `[r, num]`, up `[dim, r]`."""

    down: Tensor
    up: Tensor
    scaling: float


@dataclass(frozen=True, slots=True)
class Folded:
    """What one adapter does at one target, in the form that serving computes with; absent parts are None.

    `y = base(x ∘ input_scale) ∘ output_scale + low_rank(x)`; the scales are vectors over features or channels.
    `dropout` acts on the low-rank part's input, and only while the adapter is trained.
    """

    low_rank: LowRank | None = None
    input_scale: Tensor | None = None
    output_scale: Tensor | None = None
    dropout: float = 0.0

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        low_rank = () if self.low_rank is None else (self.low_rank.down, self.low_rank.up)
        return (*low_rank, *(scale for scale in (self.input_scale, self.output_scale) if scale is not None))

    def map(self, function: Callable[[Tensor], Tensor]) -> "Folded":
        """The same with every tensor replaced: moved to another device, cast to another dtype."""
        low = self.low_rank
        return Folded(
            low and LowRank(function(low.down), function(low.up), low.scaling),
            None if self.input_scale is None else function(self.input_scale),
            None if self.output_scale is None else function(self.output_scale),
            self.dropout,
        )


class MethodConfig(BaseModel):
    """What the three methods' configs share: the fields of PEFT 0.21.2's `PeftConfig`, and the contract.

    Values keep PEFT's types strictly (PEFT itself takes `r="8"`). Unknown keys are kept for the way back.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="allow", protected_namespaces=(), allow_inf_nan=False)

    kinds: ClassVar[frozenset[LayerKind]]
    refused: ClassVar[Mapping[str, str]]
    """Features we refuse by name, with the reason. Their fields may only hold what switches them off."""
    composable: ClassVar[bool]
    """Whether several adapters of the method may act on one row, their deltas added up."""

    task_type: str | None = None
    auto_mapping: dict[str, Any] | None = None
    peft_version: str | None = None
    base_model_name_or_path: str | None = None
    revision: str | None = None
    inference_mode: bool = False
    target_modules: Names | str | None = None
    exclude_modules: Names | str | None = None
    modules_to_save: Names | None = None
    fan_in_fan_out: bool = False

    @abstractmethod
    def refusal(self, target: ModuleInfo) -> str | None:
        """Why this config can't act on `target`, in words; None if it can. `target.kind` is one of `kinds`."""

    def fresh_refusal(self, target: ModuleInfo) -> str | None:
        """Why there are no initial weights for `target`, in words; weights that exist are not asked how they began."""
        return None

    @abstractmethod
    def shapes(self, target: ModuleInfo) -> dict[str, tuple[int, ...]]:
        """The state dict's keys below the target's name (`lora_A.weight`), with their shapes."""

    @abstractmethod
    def initial_weights(self, target: ModuleInfo, generator: torch.Generator) -> dict[str, Tensor]:
        """Fresh float32 tensors under the keys of `shapes`, drawn from `generator`."""

    @abstractmethod
    def fold(self, target: ModuleInfo, tensors: Mapping[str, Tensor]) -> Folded:
        """The serving form of the tensors under the keys of `shapes`. Differentiable: training goes through it."""
