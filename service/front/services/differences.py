"""Where a stored version acts and how strongly, and what changed between two: from their bytes alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models_registry.adapters.catalog import parse_stored
from models_registry.adapters.checkpoint import Checkpoint, match_checkpoint
from models_registry.adapters.strength import Strength, TargetDifference, differences, strengths
from models_registry.errors import Conflict, Invalid
from models_registry.records import AdapterVersion
from models_registry.references import named_by
from models_registry.registry import Registry
from models_registry.safetensors_files import read_safetensors
from service.front.access.names import seen
from service.front.resolution.registry_snapshot import Snapshot, find_adapter, resolve


@dataclass(frozen=True, slots=True)
class Difference:
    """`config` has each key whose value changed, with both values; None stands for a missing one."""

    before: AdapterVersion
    after: AdapterVersion
    config: Mapping[str, tuple[Any, Any]]
    targets: tuple[TargetDifference, ...]


class Differences:
    """Every verb may block, and raises `NotFound`, `Damaged`, `Unavailable`; `Invalid` where the versions have more
    bytes than the service takes at once."""

    def __init__(self, registry: Registry, snapshot: Snapshot, max_bytes: int) -> None:
        self._registry = registry
        self._snapshot = snapshot
        self._max_bytes = max_bytes

    def strengths(self, reference: str) -> tuple[AdapterVersion, tuple[Strength, ...]]:
        self._snapshot.refresh()
        version = resolve(self._snapshot.view, reference)
        self._require_room(version)
        return version, strengths(self._read(version))

    def between(self, before: str | None, after: str) -> Difference:
        """`before` is as the caller writes it; None is the version before `after`. Raises `Conflict` where there is
        none, or where both belong to different base models."""
        self._snapshot.refresh()
        new = resolve(self._snapshot.view, after)
        old = self._previous(new) if before is None else resolve(seen(self._snapshot.view), before)
        if old.model != new.model:
            raise Conflict(f"Both must belong to one base model: one is of {old.model!r}, the other of {new.model!r}.")
        self._require_room(old, new)
        return Difference(old, new, _changed(old.config, new.config), differences(self._read(old), self._read(new)))

    def _previous(self, version: AdapterVersion) -> AdapterVersion:
        adapter = find_adapter(self._snapshot.view, named_by(version.reference))
        earlier = [other for other in adapter.versions if other.version < version.version]
        if not earlier:
            raise Conflict(f"{version.reference!r} is the first version: say with which one to compare it.")
        return earlier[-1]

    def _require_room(self, *versions: AdapterVersion) -> None:
        if (size := sum(version.bytes for version in versions)) > self._max_bytes:
            raise Invalid(
                f"They have {size} bytes, more than {self._max_bytes}, the service's limit "
                "(ADAPTER_SERVICE_MAX_UPLOAD_BYTES); download them and compare them there."
            )

    def _read(self, version: AdapterVersion) -> Checkpoint:
        architecture = self._registry.find_architecture(version.model)
        if architecture is None:
            raise Conflict(f"The base model {version.model!r} was never loaded, so its modules aren't known.")
        tensors = read_safetensors(self._registry.read_weights(version))
        return match_checkpoint(parse_stored(version.config), tensors, architecture, accept_unmatched=True)


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> Mapping[str, tuple[Any, Any]]:
    both = {key: (before.get(key), after.get(key)) for key in sorted({*before, *after})}
    return {key: (old, new) for key, (old, new) in both.items() if old != new}
