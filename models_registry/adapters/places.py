"""Where an adapter keeps its tensors in a base model: each place names its keys and shapes and folds what stands there.

A config's places are all that an upload may fill, and all that it must.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from models_registry.adapters.absent_heads import require_head
from models_registry.adapters.biases import all_places, lora_only_places
from models_registry.adapters.catalog import AdapterConfig
from models_registry.adapters.folded import Folded
from models_registry.adapters.ia3 import IA3Config
from models_registry.adapters.lora_fields import LoraFields
from models_registry.adapters.method import BaseWeights
from models_registry.adapters.saved_modules import is_inside, saved_modules, saved_places
from models_registry.adapters.targets import resolve_targets
from models_registry.adapters.token_rows import token_places
from models_registry.dtypes import dtype_named
from models_registry.errors import Unsupported
from models_registry.records import Architecture, Fault, ModuleInfo


class Place(Protocol):
    @property
    def module(self) -> ModuleInfo:
        """Where it acts."""
        ...

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """State-dict keys (`linear.lora_A.weight`) with their shapes."""
        ...

    def initial(self, generator: torch.Generator, base: BaseWeights) -> dict[str, Tensor]:
        """Fresh tensors under the keys of `shapes`."""
        ...

    def fold(self, tensors: Mapping[str, Tensor], layer: nn.Module) -> Folded:
        """The serving form, at the live module, of the tensors under the keys of `shapes`."""
        ...


@dataclass(frozen=True, slots=True)
class MethodPlace:
    """The method's own tensors at one target. `shapes` are found once: a large adapter has hundreds of places."""

    config: AdapterConfig
    module: ModuleInfo
    shapes: dict[str, tuple[int, ...]]

    def initial(self, generator: torch.Generator, base: BaseWeights) -> dict[str, Tensor]:
        weights = self.config.initial_weights(self.module, generator, base)
        return {f"{self.module.name}.{key}": w.to(dtype_named(self.module.dtype)) for key, w in weights.items()}

    def fold(self, tensors: Mapping[str, Tensor], layer: nn.Module) -> Folded:
        start = len(self.module.name) + 1
        return self.config.fold(self.module, {key[start:]: tensors[key] for key in self.shapes}, layer)


def _method_place(config: AdapterConfig, target: ModuleInfo) -> MethodPlace:
    shapes = {f"{target.name}.{key}": shape for key, shape in config.shapes(target).items()}
    return MethodPlace(config, target, shapes)


def resolve_places(
    config: AdapterConfig, architecture: Architecture, accept_unmatched: bool = False
) -> tuple[Place, ...]:
    """All places of a completed config: its targets' first, in `named_modules()` order.

    Raises:
        Invalid: the config doesn't fit the base model; lists everything at once. What it names and the base model lacks
            is fine where the caller says `accept_unmatched`.
    """
    targets = resolve_targets(config, architecture, accept_unmatched)
    places: list[Place] = [_method_place(config, target) for target in targets]
    places += saved_places(config.modules_to_save, architecture)
    require_head((key for place in places for key in place.shapes), architecture)
    if isinstance(config, IA3Config):
        return tuple(places)
    _refuse_tying(config, places, architecture)
    saved = [module.name for module in saved_modules(config.modules_to_save, architecture)]
    if config.bias == "lora_only":
        places += lora_only_places(targets, architecture)
    if config.bias == "all":
        biases = all_places(targets, architecture)
        places += [p for p in biases if not any(p.module.name == s or is_inside(p.module.name, s) for s in saved)]
    taken = {*saved, *(target.name for target in targets)}
    places += token_places(config.trainable_token_indices, config.bias, taken, architecture)
    return tuple(places)


def _refuse_tying(config: LoraFields, places: list[Place], architecture: Architecture) -> None:
    """`ensure_weight_tying` says nothing of other modules, nor of token rows, which are tied anyway."""
    tied = {architecture.input_embedding, *architecture.tied_embeddings} if architecture.tied_embeddings else set()
    if config.ensure_weight_tying and (found := [p.module.name for p in places if p.module.name in tied]):
        reason = f"(one adapter for several tied modules) is not served; here it would tie {', '.join(found)}"
        fault = Fault(("config", "ensure_weight_tying"), f"ensure_weight_tying {reason}")
        raise Unsupported("The config asks for what is not served.", [fault])
