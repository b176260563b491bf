"""An adapter version made of stored ones: their blobs read, merged, and checked like any other adapter."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from models_registry.adapters.cancellation import while_wanted
from models_registry.adapters.catalog import parse_stored
from models_registry.adapters.checkpoint import match_checkpoint
from models_registry.adapters.compose import Component, compose
from models_registry.errors import Invalid
from models_registry.records import AdapterVersion, Architecture, RegistrySnapshot
from models_registry.safetensors_files import read_safetensors
from service.front.requests import ModelModules, NewComposition
from service.front.resolution.adapter_selection import resolve_composition
from service.front.services.version_builder import VersionCandidate, draft
from service.protocol.types import Part


def draft_composition(
    new: NewComposition,
    modules: ModelModules,
    view: RegistrySnapshot,
    read_weights: Callable[[AdapterVersion], bytes],
    max_bytes: int,
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
    parts = [_read(part, modules.architecture, read_weights) for part in while_wanted(found.parts, new.stopped)]
    checkpoint = compose(parts, modules.architecture, new.options, new.stopped)
    return draft(checkpoint, modules, {"composed": _provenance(new, parts)})


def _read(part: Part, architecture: Architecture, read_weights: Callable[[AdapterVersion], bytes]) -> Component:
    version = part.version
    tensors = read_safetensors(read_weights(version))
    checkpoint = match_checkpoint(parse_stored(version.config), tensors, architecture, accept_unmatched=True)
    return Component(version.reference, checkpoint, part.weight)


def _provenance(new: NewComposition, parts: list[Component]) -> dict[str, Any]:
    options = {name: value for name, value in asdict(new.options).items() if value is not None}
    return {"adapters": {part.reference: part.weight for part in parts}, **options}
