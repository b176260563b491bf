"""Several adapters of one base model as a new one: a plain LoRA checkpoint that PEFT loads like any other.

At each module that any of the parts targets, the parts that act there are merged, as PEFT's `add_weighted_adapter`
does. Unlike PEFT's, the result's scaling is 1 everywhere, also where the first part is rank-stabilised.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from models_registry.adapters.adalora import AdaLoraConfig
from models_registry.adapters.cancellation import Stopped, never, while_wanted
from models_registry.adapters.checkpoint import Checkpoint, match_checkpoint
from models_registry.adapters.folded import LowRank
from models_registry.adapters.ia3 import IA3Config
from models_registry.adapters.lora import LoraConfig
from models_registry.adapters.merge_options import MergeOptions
from models_registry.adapters.merging import merge
from models_registry.adapters.patterns import ends_with
from models_registry.errors import Invalid
from models_registry.records import Architecture, Fault, ModuleInfo

WHERE = "adapters"
MOST_OPERATIONS = 4e12
"""Of all decompositions of an svd: some minutes of two processor cores."""


@dataclass(frozen=True, slots=True)
class Component:
    """One of the adapters that are composed; a negative weight subtracts it. `reference` is for messages."""

    reference: str
    checkpoint: Checkpoint
    weight: float


@dataclass(frozen=True, slots=True)
class _Share:
    """What one part adds at one target: one product for a layer, two for an attention module."""

    reference: str
    low_ranks: tuple[LowRank, ...]

    @property
    def rank(self) -> int:
        return len(self.low_ranks[0].down)


def compose(
    parts: Sequence[Component], architecture: Architecture, options: MergeOptions, stopped: Stopped = never
) -> Checkpoint:
    """A LoRA checkpoint in float32 (float64 if a part is), so that weighting rounds as little as can be. `stopped` is
    asked before each target is merged.

    Raises:
        Invalid: lists everything: no parts, weights that aren't finite, parts that don't just add, ranks that differ
            where they may not, options out of range, numbers too great for the result's dtype.
        Cancelled: `stopped` says that nobody waits any more.
    """
    if faults := [*options.faults(), *_faults(parts, options)]:
        raise Invalid("These adapters can't be composed like this.", faults)
    warnings = [f"{option} has no meaning for {options.method}; it is not used." for option in options.unused]
    if len(parts) == 1 and options.elementwise and options.method != "linear":
        warnings.append(f"One adapter alone is only weighted, as PEFT does it; {options.method} needs several.")
        options = replace(options, method="linear")
    shares = _shares(parts, architecture)
    if not shares:
        raise Invalid("These adapters have no rank left at any target, so that there is nothing to compose.")
    if options.elementwise and (faults := [*_uneven(shares)]):
        raise Invalid("These adapters can't be composed like this.", faults)
    if options.method == "svd" and (operations := _operations(shares)) > MOST_OPERATIONS:
        raise Invalid(
            f"An svd of these adapters takes about {operations:.0e} operations, more than {MOST_OPERATIONS:.0e}; take "
            "fewer of them or such with lower ranks, or cat, which decomposes nothing."
        )
    merged = _merge_all(shares, architecture, options, stopped)
    config = _config(parts, merged, architecture)
    checkpoint = match_checkpoint(config, _tensors(config, merged, architecture), architecture)
    return replace(checkpoint, warnings=(*checkpoint.warnings, *warnings))


# ---- what is wrong ----------------------------------------------------------------------------------------------


def _faults(parts: Sequence[Component], options: MergeOptions) -> Iterator[Fault]:
    if not parts:
        yield Fault((WHERE,), "name at least one adapter, with its weight")
    for part in parts:
        config = part.checkpoint.config
        if not math.isfinite(part.weight):
            yield Fault((WHERE, part.reference), f"the weight must be a finite number, not {part.weight}")
        if config.addition_refusal:
            yield Fault((WHERE, part.reference), f"can't be composed ({config.addition_refusal})")
        elif isinstance(config, AdaLoraConfig) and options.elementwise:
            yield Fault((WHERE, part.reference), f"{options.method} is for LoRA; combine an AdaLoRA with cat or svd")


def _uneven(shares: Mapping[str, Sequence[_Share]]) -> Iterator[Fault]:
    for name, here in shares.items():
        if len({share.rank for share in here}) > 1:
            ranks = ", ".join(f"{share.rank} ({share.reference})" for share in here)
            yield Fault((WHERE,), f"have different ranks at {name!r}: {ranks}; compose them with cat or svd")


# ---- merging ----------------------------------------------------------------------------------------------------


def _shares(parts: Sequence[Component], architecture: Architecture) -> dict[str, list[_Share]]:
    """By the target's name, in the model's order. A target at which pruning left no rank is none."""
    shares: dict[str, list[_Share]] = {module.name: [] for module in architecture.modules}
    for part in parts:
        for target, low_ranks in _low_ranks(part):
            weighted = (replace(low_rank, scaling=part.weight * low_rank.scaling) for low_rank in low_ranks)
            share = _Share(part.reference, tuple(weighted))
            if share.rank:
                shares[target.name].append(share)
    return {name: here for name, here in shares.items() if here}


def _low_ranks(part: Component) -> Iterator[tuple[ModuleInfo, list[LowRank]]]:
    config, tensors = part.checkpoint.config, part.checkpoint.tensors
    assert not isinstance(config, IA3Config)
    for target in part.checkpoint.targets:
        own = {key: _wide(tensors[f"{target.name}.{key}"]) for key in config.shapes(target)}
        yield target, config.low_ranks(target, own)


def _operations(shares: Mapping[str, Sequence[_Share]]) -> float:
    """Multiplications of `merging.truncate` at all targets, for the joint rank R: two QRs of `[features, R]`, and an
    svd of `[R, R]`, which takes about 20 R³ (Golub and Van Loan, section 8.6). Groups, which lessen it, don't count."""
    total = 0.0
    for here in shares.values():
        for products in zip(*(share.low_ranks for share in here), strict=True):
            rank = sum(len(product.down) for product in products)
            features = len(products[0].up) + products[0].down[0].numel()
            total += 2.0 * features * rank**2 + 20.0 * min(rank, features) ** 3
    return total


def _wide(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _merge_all(
    shares: Mapping[str, Sequence[_Share]], architecture: Architecture, options: MergeOptions, stopped: Stopped
) -> dict[str, tuple[LowRank, ...]]:
    rank = options.rank or max(share.rank for here in shares.values() for share in here)
    generator = torch.Generator()
    generator.seed() if options.seed is None else generator.manual_seed(options.seed)
    groups = {module.name: module.groups for module in architecture.modules}
    return {
        name: tuple(
            merge(low_ranks, options, rank, groups[name], generator)
            for low_ranks in zip(*(share.low_ranks for share in here), strict=True)
        )
        for name, here in while_wanted(shares.items(), stopped)
    }


# ---- the result as a checkpoint ---------------------------------------------------------------------------------


def _config(
    parts: Sequence[Component], merged: Mapping[str, tuple[LowRank, ...]], architecture: Architecture
) -> LoraConfig:
    """Each target by its name with its own rank, alpha as great as the rank. What a config says of the base model and
    its task is the first part's."""
    ranks = {name: len(low_ranks[0].down) for name, low_ranks in merged.items()}
    r = max(ranks.values())
    # A key is an expression that also matches behind a dot; anchored, it names one module.
    others = {f"^{re.escape(name)}": rank for name, rank in ranks.items() if rank != r}
    first = parts[0].checkpoint.config
    return LoraConfig(
        r=r,
        lora_alpha=r,
        rank_pattern=others,
        alpha_pattern=dict(others),
        target_modules=_exactly(tuple(ranks), architecture),
        lora_bias=any(low_rank.bias is not None for low_ranks in merged.values() for low_rank in low_ranks),
        inference_mode=True,
        fan_in_fan_out=first.fan_in_fan_out,
        task_type=first.task_type,
        auto_mapping=first.auto_mapping,
        base_model_name_or_path=first.base_model_name_or_path,
        revision=first.revision,
    )


def _exactly(names: tuple[str, ...], architecture: Architecture) -> tuple[str, ...] | str:
    """The names, or where another module's name ends with one of them, an expression for these names alone."""
    others = {module.name for module in architecture.modules} - set(names)
    if any(ends_with(other, name) for other in others for name in names):
        return "|".join(map(re.escape, names))
    return names


def _tensors(
    config: LoraConfig, merged: Mapping[str, tuple[LowRank, ...]], architecture: Architecture
) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for target in (module for module in architecture.modules if module.name in merged):
        for pair, low_rank in zip(config.pairs(target), merged[target.name], strict=True):
            tensors[f"{target.name}.{pair.a}"] = low_rank.down.reshape(pair.shape_a)
            tensors[f"{target.name}.{pair.b}"] = low_rank.up.reshape(pair.shape_b)
            if pair.bias is not None:
                bias = low_rank.up.new_zeros(target.out_features) if low_rank.bias is None else low_rank.bias
                tensors[f"{target.name}.{pair.bias}"] = bias
    return tensors
