"""A small model with adapters of every method, for the tests of injection."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from models_registry.injection import AdaptedModel

LORA: dict[str, Any] = {
    "peft_type": "LORA",
    "r": 3,
    "target_modules": ["linear", "embedding"],
    "init_lora_weights": False,
}
ADALORA: dict[str, Any] = {
    "peft_type": "ADALORA",
    "init_r": 4,
    "target_modules": ["linear"],
    "init_lora_weights": False,
}
IA3: dict[str, Any] = {
    "peft_type": "IA3",
    "target_modules": ["linear", "lm_head"],
    "feedforward_modules": ["lm_head"],
    "init_ia3_weights": False,
}
METHODS: Mapping[str, Mapping[str, Any]] = {"lora": LORA, "adalora": ADALORA, "ia3": IA3}
IDS = torch.arange(12).view(4, 3) % 10


@torch.no_grad()
def whole(adapted: AdaptedModel, composition: Mapping[str, float], ids: Tensor = IDS) -> Tensor:
    with adapted.routed_whole(composition):
        return adapted.module(ids)


@torch.no_grad()
def by_row(adapted: AdaptedModel, *compositions: Mapping[str, float], ids: Tensor = IDS) -> Tensor:
    with adapted.routed(compositions):
        return adapted.module(ids)


def picture(module: nn.Module) -> list[Any]:
    """All by which one could tell that a module was touched."""
    return [
        repr(module),
        {name: (id(tensor), tensor.clone(), tensor.requires_grad) for name, tensor in module.named_parameters()},
        {name: (id(tensor), tensor.clone()) for name, tensor in module.named_buffers()},
        list(module.state_dict()),
        [(name, id(part), type(part), part.training, _insides(part)) for name, part in module.named_modules()],
    ]


def _insides(part: nn.Module) -> dict[str, Any]:
    """Its attributes by name, with what stands in the tables that torch keeps there: children and hooks."""
    return {name: list(value.items()) if isinstance(value, dict) else id(value) for name, value in vars(part).items()}


def same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other
