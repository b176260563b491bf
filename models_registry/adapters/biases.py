"""Own biases (`bias`: "all", "lora_only"): they take the place of the base model's for the adapter's rows alone."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models_registry.adapters.copies import copy_with
from models_registry.adapters.folded import Folded, serving_dtype
from models_registry.adapters.method import BaseWeights
from models_registry.errors import Invalid
from models_registry.records import Architecture, Fault, ModuleInfo, ParameterInfo

ADDING_BIAS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.LayerNorm, nn.GroupNorm)
"""Layers whose bias is the last thing that they add, besides those of `ADDING_KINDS`."""
ADDING_KINDS = ("hf_conv1d", "attention")


@dataclass(frozen=True, slots=True)
class BiasPlace:
    """A bias instead of `parameter` of `module` (`bias`; an attention module's `out_proj.bias`), saved under `key`.

    `alone`: the adapter does nothing else at the module.
    """

    module: ModuleInfo
    parameter: str
    key: str
    info: ParameterInfo
    alone: bool

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {self.key: self.info.shape}

    def initial(self, generator: torch.Generator, base: BaseWeights) -> dict[str, Tensor]:
        return {self.key: base(f"{self.module.name}.{self.parameter}").detach().clone()}

    def fold(self, tensors: Mapping[str, Tensor], layer: nn.Module) -> Folded:
        own = layer.get_parameter(self.parameter)
        bias = tensors[self.key].to(own.device)
        adds = isinstance(layer, ADDING_BIAS) or self.module.kind in ADDING_KINDS
        # A shift rounds a half-precision output a second time. Where nothing else does, a copy is as exact as PEFT is.
        rounds_twice = own.dtype.itemsize < 4 and self.alone
        if adds and not rounds_twice:
            wide = serving_dtype(own.dtype)
            return Folded(output_shift=bias.to(wide) - own.to(wide))
        return Folded(copy=copy_with(layer, {self.parameter: bias.to(own.dtype)}))


def lora_only_places(targets: Collection[ModuleInfo], architecture: Architecture) -> Iterator[BiasPlace]:
    """The targets' own biases; an attention module's is its out_proj's, which acts through it."""
    by_owner = {module.owner: module for module in architecture.modules if module.owner is not None}
    for target in targets:
        if (info := target.parameters.get("bias")) is not None:
            yield BiasPlace(target, "bias", f"{target.name}.base_layer.bias", info, alone=False)
        if (child := by_owner.get(target.name)) is not None and (info := child.parameters.get("bias")) is not None:
            key = f"{target.name}.base_layer.out_proj.base_layer.bias"
            yield BiasPlace(target, "out_proj.bias", key, info, alone=False)


def all_places(targets: Collection[ModuleInfo], architecture: Architecture) -> Iterator[BiasPlace]:
    """Every parameter that is named `bias`. Raises `Invalid` for one of the model itself: no hook could act on it."""
    names = {target.name for target in targets}
    by_name = {module.name: module for module in architecture.modules}
    for module in architecture.modules:
        if (info := module.parameters.get("bias")) is None:
            continue
        if not module.name:
            fault = Fault(("config", "bias"), "the base model's root has a bias of its own, which can't be replaced")
            raise Invalid("The config doesn't fit the base model.", [fault])
        if module.owner in names or module.name in names:
            continue
        # An attention module's out_proj is never called: its bias acts through its owner.
        acting, name = (module, "bias") if module.owner is None else (by_name[module.owner], "out_proj.bias")
        yield BiasPlace(acting, name, f"{module.name}.bias", info, alone=True)
    yield from lora_only_places(targets, architecture)
