"""Whole modules that an adapter brings its own copy of (`modules_to_save`), such as a classification head."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models_registry.adapters.copies import copy_with
from models_registry.adapters.folded import Folded
from models_registry.adapters.method import BaseWeights
from models_registry.dtypes import dtype_named
from models_registry.records import Architecture, Fault, ModuleInfo, ParameterInfo

HEADS = frozenset({"classifier", "score"})
"""PEFT adds both to a classifier's `modules_to_save`, whichever of them the model has."""
TASK_HEADS: Mapping[str, frozenset[str]] = {
    "SEQ_CLS": HEADS,
    "TOKEN_CLS": HEADS,
    "QUESTION_ANS": frozenset({"qa_outputs"}),
}


@dataclass(frozen=True, slots=True)
class SavedModulePlace:
    """`infos` are the module's parameters and persistent buffers, its children's included, by their names in it."""

    module: ModuleInfo
    infos: Mapping[str, ParameterInfo]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {f"{self.module.name}.{name}": info.shape for name, info in self.infos.items()}

    @property
    def counters(self) -> set[str]:
        """Keys of what counts rather than computes: a batch norm's `num_batches_tracked`."""
        integers = (name for name, info in self.infos.items() if not dtype_named(info.dtype).is_floating_point)
        return {f"{self.module.name}.{name}" for name in integers}

    def initial(self, generator: torch.Generator, base: BaseWeights) -> dict[str, Tensor]:
        return {key: base(key).detach().clone() for key in self.shapes}

    def fold(self, tensors: Mapping[str, Tensor], layer: nn.Module) -> Folded:
        own = layer.state_dict(keep_vars=True)
        placed = {
            name: tensors[f"{self.module.name}.{name}"].to(own[name].device, own[name].dtype) for name in self.infos
        }
        return Folded(copy=copy_with(layer, placed))


def saved_modules(entries: tuple[str, ...] | None, architecture: Architecture) -> list[ModuleInfo]:
    """The modules whose names end in one of `entries`, without those inside another one of them.

    No dot need stand before the entry: PEFT saves `pre_classifier` for `classifier`, and every `…layernorm` for `norm`.
    """
    named = [m for m in architecture.modules if m.name.endswith(entries or ()) and m.name]
    return [m for m in named if not any(is_inside(m.name, other.name) for other in named)]


def with_heads(task_type: str | None, entries: tuple[str, ...] | None, architecture: Architecture) -> tuple[str, ...]:
    """`entries`, and the heads that PEFT saves along for a task when an adapter is made for it."""
    heads = sorted(TASK_HEADS.get(task_type or "", frozenset[str]()) - {*(entries or ())})
    return (*(entries or ()), *(h for h in heads if any(module.name.endswith(h) for module in architecture.modules)))


def saved_places(entries: tuple[str, ...] | None, architecture: Architecture) -> Iterator[SavedModulePlace]:
    for module in saved_modules(entries, architecture):
        infos = {
            f"{part.name}.{name}".removeprefix(f"{module.name}."): info
            for part in architecture.modules
            if part.name == module.name or is_inside(part.name, module.name)
            for name, info in {**part.parameters, **part.buffers}.items()
        }
        yield SavedModulePlace(module, infos)


def unmatched_saved(entries: tuple[str, ...] | None, architecture: Architecture) -> Iterator[Fault]:
    found = [module.name for module in saved_modules(entries, architecture)]
    for entry in entries or ():
        is_other_head = entry in HEADS and HEADS & {name.rpartition(".")[2] for name in found}
        if not is_other_head and not any(module.name.endswith(entry) for module in architecture.modules):
            way_out = "; to serve a classifier, host the base with task: text-classification" if entry in HEADS else ""
            yield Fault(("config", "modules_to_save"), f"{entry!r} matches no module of the base model{way_out}")


def is_inside(name: str, other: str) -> bool:
    return name.startswith(f"{other}.")
