"""An adapter version before it is stored: its config and weights checked against the base model, its blob written out.

Everything that can be wrong shows here, so that whatever fails leaves nothing behind.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from models_registry.adapters.catalog import AdapterConfig, dump_config
from models_registry.adapters.checkpoint import (
    Checkpoint,
    fresh_checkpoint,
    match_checkpoint,
    read_safetensors,
    write_safetensors,
)
from models_registry.adapters.method import BaseWeights
from models_registry.records import AdapterVersion, Architecture
from models_registry.registry import VersionContent


@dataclass(frozen=True, slots=True)
class Draft:
    checkpoint: Checkpoint
    fingerprint: str
    content: VersionContent

    def as_version(self, model: str, name: str, number: int) -> AdapterVersion:
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
        )


def draft_fresh(
    config: AdapterConfig, architecture: Architecture, seed: int | None, metadata: Mapping[str, Any], base: BaseWeights
) -> Draft:
    """With the method's own initial weights. Raises `Invalid` where the config doesn't fit the base model, and what
    `base` raises where the weights start from the base model's."""
    return _draft(fresh_checkpoint(config, architecture, seed, base), architecture, metadata)


def draft_upload(
    config: AdapterConfig, architecture: Architecture, weights: bytes, metadata: Mapping[str, Any]
) -> Draft:
    """With uploaded safetensors. Raises `Invalid` where they aren't, or don't fit the config and the base model."""
    checkpoint = match_checkpoint(config, read_safetensors(weights), architecture)
    return _draft(checkpoint, architecture, metadata)


def _draft(checkpoint: Checkpoint, architecture: Architecture, metadata: Mapping[str, Any]) -> Draft:
    content = VersionContent(
        method=checkpoint.config.peft_type,
        config=dump_config(checkpoint.config),
        weights=write_safetensors(checkpoint.tensors),
        parameters=checkpoint.parameters,
        targets=[target.name for target in checkpoint.targets],
        metadata=metadata,
    )
    return Draft(checkpoint, architecture.fingerprint, content)
