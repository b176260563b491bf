"""An adapter version before it is stored: its config and weights checked against the base model, its blob written out.

Everything that can be wrong shows here, so that whatever fails leaves nothing behind.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias

from models_registry.adapters.cancellation import Stopped
from models_registry.adapters.catalog import AdapterConfig, dump_config, parse_config
from models_registry.adapters.checkpoint import Checkpoint, lay_out_fresh, match_checkpoint, not_in_memory
from models_registry.adapters.keys import WEIGHTS
from models_registry.errors import Invalid, WithoutEffect
from models_registry.records import AdapterVersion, Fault
from models_registry.registry import VersionContent
from models_registry.safetensors_files import read_safetensors, write_safetensors
from service.front.requests import ModelModules, NewAdapter
from service.protocol.types import FreshWeights, Tensors

Draw: TypeAlias = Callable[[FreshWeights, Stopped], Tensors]
"""Has initial weights drawn where the base model is. Raises `Cancelled` once nobody waits for them any more."""


@dataclass(frozen=True, slots=True)
class VersionCandidate:
    checkpoint: Checkpoint
    fingerprint: str
    content: VersionContent

    def as_version(self, model: str, name: str, number: int, labels: Mapping[str, str]) -> AdapterVersion:
        """The record that storing it would give."""
        content = self.content
        return AdapterVersion(
            adapter=name,
            model=model,
            version=number,
            method=content["method"],
            config=content["config"],
            digest=sha256(content["weights"]).hexdigest(),
            parameters=content["parameters"],
            bytes=len(content["weights"]),
            targets=tuple(content["targets"]),
            metadata=content["metadata"],
            fingerprint=self.fingerprint,
            created_at=datetime.now(UTC),
            labels=labels,
        )


def draft_new(new: NewAdapter, modules: ModelModules, draw: Draw | None, max_bytes: int) -> VersionCandidate:
    """With its uploaded weights, or with initial ones, which the model's host draws where it is in memory. Raises as
    `draft_upload`, and for initial weights `Invalid` beyond `max_bytes`, `Conflict` where they start from base weights
    that aren't in memory, `Cancelled`."""
    config = parse_config(new.config, new.accept.unknown)
    if new.weights is not None:
        return draft_upload(config, modules, new.weights, new.metadata, new.accept.unmatched)
    layout = lay_out_fresh(config, modules.architecture, max_bytes, new.accept.unmatched)
    if draw is None:
        tensors = layout.draw(new.seed, not_in_memory, new.stopped)
    else:
        head = modules.architecture.absent_head
        labels = None if head is None else head.labels
        fresh = FreshWeights(new.config, new.seed, new.accept.unknown, new.accept.unmatched, labels)
        tensors = draw(fresh, new.stopped)
    return draft(layout.filled(tensors), modules, new.metadata)


def draft_upload(
    config: AdapterConfig,
    modules: ModelModules,
    weights: bytes | Path,
    metadata: Mapping[str, Any],
    accept_unmatched: bool = False,
) -> VersionCandidate:
    """With uploaded safetensors. Raises `Invalid` where they aren't, or don't fit the config and the base model,
    `WithoutEffect` where the model enters none of its places. With `accept_unmatched` the config may name what the base
    model lacks."""
    checkpoint = match_checkpoint(config, _read(weights), modules.architecture, accept_unmatched)
    drafted = draft(checkpoint, modules, metadata)
    if not isinstance(weights, Path):
        return drafted
    # What will be in memory with the model must not stay mapped from the caller's upload, and keep its disk.
    tensors = {key: tensor.clone() for key, tensor in checkpoint.tensors.items()}
    return replace(drafted, checkpoint=replace(drafted.checkpoint, tensors=tensors))


def _read(weights: bytes | Path) -> Tensors:
    try:
        return read_safetensors(weights)
    except Invalid as error:
        raise Invalid(error.detail, [Fault((WEIGHTS,), error.detail)], hint=error.hint) from error


def draft(checkpoint: Checkpoint, modules: ModelModules, metadata: Mapping[str, Any]) -> VersionCandidate:
    """Of a checkpoint that fits the base model. Raises `WithoutEffect` where the model enters none of its places."""
    content = VersionContent(
        method=checkpoint.config.peft_type,
        config=dump_config(checkpoint.config),
        weights=write_safetensors(checkpoint.tensors),
        parameters=checkpoint.parameters,
        targets=[target.name for target in checkpoint.targets],
        metadata=metadata,
    )
    warnings = (*checkpoint.warnings, *_unreached(checkpoint, modules))
    return VersionCandidate(replace(checkpoint, warnings=warnings), modules.architecture.fingerprint, content)


def _unreached(checkpoint: Checkpoint, modules: ModelModules) -> Iterator[str]:
    """A warning for each target that the model was not seen to enter, though other inputs may lead there. Raises
    `WithoutEffect` where it enters none, or reads a target's weight instead of calling it."""
    entered, names = modules.entered, [target.name for target in checkpoint.targets]
    missed = [name for name in names if entered is not None and name not in entered]
    refused = missed if len(missed) == len(names) else [name for name in missed if name in modules.bypassed]
    if refused:
        faults = [Fault(("config", "target_modules"), _why_not(name, modules)) for name in refused]
        raise WithoutEffect("An adapter on these modules would never act.", faults)
    yield from (f"The base model's forward was not seen to enter {name!r}." for name in missed)


def _why_not(name: str, modules: ModelModules) -> str:
    if name in modules.bypassed:
        return f"the base model's forward reads the weight of {name!r} without calling it"
    return f"the base model's forward never enters {name!r}"
