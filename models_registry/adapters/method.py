"""The contract that lora.py, adalora.py and ia3.py fulfil.

A method is its config class: the hyper-parameters with PEFT's names, which layers it takes, the keys and shapes of its
state dict, its initial weights, and how they fold. It knows nothing of module trees, batches or HTTP.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Annotated, Any, ClassVar, Final, TypeAlias

import torch
from pydantic import BaseModel, BeforeValidator, ConfigDict, PrivateAttr
from torch import Tensor, nn

from models_registry.adapters.expressions import LOADING_S, Expressions
from models_registry.adapters.folded import Folded
from models_registry.records import LayerKind, ModuleInfo


def _as_tuple(value: object) -> object:
    """PEFT keeps name lists as sets and saves them as lists; a set has no order of its own, so it gets one."""
    if isinstance(value, set | frozenset):
        return tuple(sorted(value, key=str))
    return tuple(value) if isinstance(value, list) else value


Names: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]
Indices: TypeAlias = Annotated[tuple[int, ...], BeforeValidator(_as_tuple)]


PEFT_PREFIX: Final = "base_model.model."
"""Stands before each key in the files that PEFT saves."""

FLOAT32_MAX: Final = torch.finfo(torch.float32).max
"""An adapter's part is multiplied by its alpha, and by its weight in a composition, in float32 at the least."""

STORED: Final = "stored"
"""The validation context of a config that was accepted when its version was stored."""

BaseWeights: TypeAlias = Callable[[str], Tensor]
"""A base model's parameter or buffer by its full name; raises `Conflict` where the model isn't in memory."""


class MethodConfig(BaseModel):
    """What the three methods' configs share: the fields of PEFT 0.21.2's `PeftConfig`, and the contract.

    Values keep PEFT's types strictly (PEFT itself takes `r="8"`). Unknown keys are kept for the way back.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="allow", protected_namespaces=(), allow_inf_nan=False)

    kinds: ClassVar[frozenset[LayerKind]]
    refused: ClassVar[Mapping[str, str]]
    """Features we refuse by name, with the reason. Their fields may only hold what switches them off."""

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

    _is_stored: bool = PrivateAttr(default=False)

    def model_post_init(self, context: Any, /) -> None:
        self._is_stored = context is STORED

    @cached_property
    def expressions(self) -> Expressions:
        """What runs this config's regular expressions; copies of the config share it, and so its time."""
        return Expressions(LOADING_S, most=None) if self._is_stored else Expressions()

    @property
    @abstractmethod
    def addition_refusal(self) -> str | None:
        """Why such adapters can't be weighted and added up, in words; None if they can."""

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
    def initial_weights(self, target: ModuleInfo, generator: torch.Generator, base: BaseWeights) -> dict[str, Tensor]:
        """Fresh tensors under the keys of `shapes`, drawn from `generator`. Some start from the `base` weights."""

    @abstractmethod
    def fold(self, target: ModuleInfo, tensors: Mapping[str, Tensor], layer: nn.Module) -> Folded:
        """The serving form, at the live `layer`, of the tensors under the keys of `shapes`. Differentiable: training
        goes through it."""
