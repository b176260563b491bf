"""Which modules of a base model a config targets: PEFT 0.21.2's rules, on the module list of the untouched model.

Unlike PEFT, nothing is passed over in silence: what matches nothing is refused, or warned about where a caller accepts
it, and what can't be adapted is named.
"""

from collections.abc import Iterator, Mapping

from models_registry.adapters import defaults
from models_registry.adapters.adalora import AdaLoraConfig
from models_registry.adapters.catalog import AdapterConfig
from models_registry.adapters.ia3 import IA3Config
from models_registry.adapters.lora import LoraConfig
from models_registry.adapters.patterns import ends_with, index_in, matches
from models_registry.adapters.saved_modules import is_inside, saved_modules
from models_registry.adapters.unmatched import unmatched_entries
from models_registry.errors import Invalid
from models_registry.records import Architecture, Fault, ModuleInfo

ALL_LINEAR = "all-linear"
SUGGESTED = 20
ACCEPT_UNMATCHED = "Remove what names nothing; or set accept_unmatched, which takes the config as it is, as PEFT does."
LINEAR_KINDS = frozenset({"linear", "hf_conv1d"})


def complete_config(config: AdapterConfig, architecture: Architecture) -> AdapterConfig:
    """Fill in what PEFT fills in from its tables when a config leaves it out.

    Raises:
        Invalid: the architecture is unknown; names the modules that could be targeted.
    """
    if config.target_modules is None:
        table = defaults.TARGETS[config.peft_type]
        names = [module.name for module in architecture.modules if module.name]
        config = config.model_copy(
            update={"target_modules": _default(table, "target_modules", names, config, architecture)}
        )
    if isinstance(config, IA3Config) and config.feedforward_modules is None:
        names = [module.name for module in architecture.modules if _is_target(config, module, architecture)]
        entries = _default(defaults.FEEDFORWARD, "feedforward_modules", names, config, architecture)
        config = config.model_copy(update={"feedforward_modules": entries})
    return config


def _default(
    table: Mapping[str, str | tuple[str, ...]],
    field: str,
    names: list[str],
    config: AdapterConfig,
    architecture: Architecture,
) -> str | tuple[str, ...]:
    """The table's entry for the architecture, without the names that this very model doesn't have."""
    entries = table.get(architecture.model_type or "")
    if entries is None:
        raise Invalid(
            f"There is no default for {field} on a base model of type {architecture.model_type or 'custom'!r}.",
            [Fault(("config", field), f"name them. {_suggestion(config, architecture)}")],
        )
    if isinstance(entries, str):
        return entries
    return tuple(entry for entry in entries if any(ends_with(name, entry) for name in names))


def resolve_targets(
    config: AdapterConfig, architecture: Architecture, accept_unmatched: bool = False
) -> tuple[ModuleInfo, ...]:
    """The targets of a completed config, in `named_modules()` order.

    Raises:
        Invalid: lists everything: nothing matched, a layer that can't be adapted, and without `accept_unmatched` each
            entry that matched nothing.
    """
    saved = [module.name for module in saved_modules(config.modules_to_save, architecture)]
    targets = tuple(
        module
        for module in architecture.modules
        if _is_target(config, module, architecture)
        # A copy of its own has no use for a delta too; PEFT leaves such modules out as well.
        and not any(module.name == name or is_inside(module.name, name) for name in saved)
    )
    unmatched = [] if accept_unmatched else unmatched_entries(config, architecture, targets)
    faults = list(_refused(config, targets))
    if not targets:
        faults.append(Fault(("config", "target_modules"), f"matches no module. {_suggestion(config, architecture)}"))
    if unmatched or faults:
        hint = None if faults else ACCEPT_UNMATCHED
        raise Invalid("The config doesn't fit the base model.", [*unmatched, *faults], hint=hint)
    return targets


def _is_target(config: AdapterConfig, module: ModuleInfo, architecture: Architecture) -> bool:
    name, entries = module.name, config.target_modules
    if not name or entries is None:
        return False
    if config.exclude_modules and matches(config.exclude_modules, name, config.expressions):
        return False
    if isinstance(entries, str) and entries.lower() == ALL_LINEAR:
        return module.kind in LINEAR_KINDS and name not in _heads(config, architecture)
    if not matches(entries, name, config.expressions):
        return False
    return isinstance(entries, str) or name in entries or _is_wanted_layer(config, name)


def _is_wanted_layer(config: AdapterConfig, name: str) -> bool:
    """`layers_to_transform`; an entry that is a module's whole name is beyond it."""
    if not isinstance(config, LoraConfig | AdaLoraConfig) or (wanted := config.wanted_layers) is None:
        return True
    return index_in(name, config.layer_lists, config.expressions) in wanted


def _heads(config: AdapterConfig, architecture: Architecture) -> set[str | None]:
    """What `all-linear` leaves out: the output embedding, else a sequence classifier's head."""
    if architecture.output_embedding is not None:
        return {architecture.output_embedding}
    return {architecture.classification_head} if config.task_type == "SEQ_CLS" else set()


def _refused(config: AdapterConfig, targets: tuple[ModuleInfo, ...]) -> Iterator[Fault]:
    for target in targets:
        if target.kind not in config.kinds:
            reason = target.refusal or f"{config.peft_type} can't adapt a {target.type}."
            yield Fault(("config", "target_modules"), f"{target.name!r}: {reason}")
        elif refusal := config.refusal(target):
            yield Fault(("config", "target_modules"), f"{target.name!r}: {refusal}")


def _suggestion(config: AdapterConfig, architecture: Architecture) -> str:
    """Which modules the method could take, by the last part of their names."""
    endings = {module.name.rpartition(".")[2]: None for module in architecture.modules if module.kind in config.kinds}
    if not endings:
        return f"{config.peft_type} can adapt none of this base model's modules."
    return f"{config.peft_type} can adapt: {', '.join(list(endings)[:SUGGESTED])}."
