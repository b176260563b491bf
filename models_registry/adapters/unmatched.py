"""What a config names and the base model lacks: it would be an adapter, a rank or a scaling that silently isn't there.

PEFT passes over all of it, and tools that train for many models write more names than one has: a caller may accept it.
"""

from collections.abc import Iterator
from typing import Any

from models_registry.adapters.adalora import AdaLoraConfig
from models_registry.adapters.catalog import AdapterConfig
from models_registry.adapters.ia3 import IA3Config
from models_registry.adapters.lora import LoraConfig
from models_registry.adapters.misfits import fused_into, why_fused
from models_registry.adapters.pattern_keys import PatternKeys
from models_registry.adapters.patterns import endings, index_in, matches
from models_registry.adapters.saved_modules import unmatched_saved
from models_registry.records import Architecture, Fault, ModuleInfo


def unmatched_entries(
    config: AdapterConfig, architecture: Architecture, targets: tuple[ModuleInfo, ...]
) -> list[Fault]:
    """Every entry that names nothing of the base model, or none of the `targets` that the others name."""
    names = _names(architecture)
    target_names = [target.name for target in targets]
    found = list(_unmatched_targets(config, architecture, names))
    if isinstance(config, IA3Config):
        found += _unmatched_names("feedforward_modules", config.feedforward_modules, target_names)
    else:
        found += _unmatched_layers(config, names)
        found += _unmatched_keys("alpha_pattern", config.alpha_keys, target_names)
    if isinstance(config, LoraConfig):
        found += _unmatched_keys("rank_pattern", config.rank_keys, target_names)
    if isinstance(config, AdaLoraConfig):
        masks = sorted(config.masks.keys() - set(target_names))
        found += [Fault(("config", "rank_pattern"), f"{name!r} is none of the targets") for name in masks]
    return [*found, *unmatched_saved(config.modules_to_save, architecture)]


def unmatched_exclusions(config: AdapterConfig, architecture: Architecture) -> list[Fault]:
    """Entries of `exclude_modules` that exclude nothing: they change nothing, but somebody meant something by them."""
    entries, names = config.exclude_modules, _names(architecture)
    if isinstance(entries, str) and entries:
        if any(matches(entries, name, config.expressions) for name in names):
            return []
        return [Fault(("config", "exclude_modules"), f"{entries!r} matches none of the {len(names)} modules")]
    return list(_unmatched_names("exclude_modules", entries, names))


def _names(architecture: Architecture) -> list[str]:
    return [module.name for module in architecture.modules if module.name]


def _unmatched_targets(config: AdapterConfig, architecture: Architecture, names: list[str]) -> Iterator[Fault]:
    for entry in _absent(config.target_modules, names):
        parameter = fused_into(entry, architecture.fused_layers)
        reason = "" if parameter is None else f": {why_fused(parameter)}"
        message = f"{entry!r} matches none of the {len(names)} modules it may name{reason}"
        yield Fault(("config", "target_modules"), message)


def _unmatched_names(field: str, entries: str | tuple[str, ...] | None, names: list[str]) -> Iterator[Fault]:
    for entry in _absent(entries, names):
        yield Fault(("config", field), f"{entry!r} matches none of the {len(names)} modules it may name")


def _absent(entries: str | tuple[str, ...] | None, names: list[str]) -> list[str]:
    if not isinstance(entries, tuple):
        return []
    known = frozenset(ending for name in names for ending in endings(name))
    return [entry for entry in entries if entry not in known]


def _unmatched_keys(field: str, keys: PatternKeys[Any], names: list[str]) -> Iterator[Fault]:
    for key in keys.unmatched(names):
        yield Fault(("config", field, key), "matches none of the targets")


def _unmatched_layers(config: LoraConfig | AdaLoraConfig, names: list[str]) -> Iterator[Fault]:
    wanted = config.wanted_layers or ()
    found = {index_in(name, config.layer_lists, config.expressions) for name in names} if wanted else set()
    for index in wanted:
        if index not in found:
            yield Fault(("config", "layers_to_transform"), f"the base model has no layer {index}")
