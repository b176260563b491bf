"""An adapter version made of stored ones: they are merged beside the front, and checked like any other adapter."""

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any, TypeAlias

from models_registry.adapters.cancellation import Stopped
from models_registry.adapters.catalog import parse_stored
from models_registry.adapters.checkpoint import match_checkpoint
from models_registry.errors import Invalid
from models_registry.records import RegistrySnapshot
from service.front.requests import ModelModules, NewComposition
from service.front.resolution.adapter_selection import resolve_composition
from service.front.services.version_builder import VersionCandidate, draft
from service.protocol.types import Merged, MergeOrder, Selection

Merge: TypeAlias = Callable[[MergeOrder, Stopped], Merged]


def draft_composition(
    new: NewComposition, modules: ModelModules, view: RegistrySnapshot, merge: Merge, max_bytes: int
) -> VersionCandidate:
    """Its metadata say what it was made of. Raises `NotFound` (references: all of them at once), `Damaged`, `Invalid`
    where the parts or the options don't go together, or the parts, which are read at the same time, have more than
    `max_bytes` in all; `WithoutEffect` where the model enters none of its places; `Cancelled`."""
    found = resolve_composition(view, new.model, new.adapters)
    if (bytes_ := sum(part.version.bytes for part in found.parts)) > max_bytes:
        raise Invalid(
            f"The adapters have {bytes_} bytes in all, more than {max_bytes}, the service's limit "
            "(ADAPTER_SERVICE_MAX_UPLOAD_BYTES); compose fewer of them, or smaller ones."
        )
    parts = tuple((part.version, part.weight) for part in found.parts)
    merged = merge(MergeOrder(parts, modules.architecture, asdict(new.options)), new.stopped)
    checkpoint = match_checkpoint(parse_stored(merged.config), merged.tensors, modules.architecture, True)
    return draft(replace(checkpoint, warnings=merged.warnings), modules, {"composed": _provenance(new, found)})


def _provenance(new: NewComposition, found: Selection) -> dict[str, Any]:
    options = {name: value for name, value in asdict(new.options).items() if value is not None}
    return {"adapters": {part.version.reference: part.weight for part in found.parts}, **options}
