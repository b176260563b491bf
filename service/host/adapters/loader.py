"""From an adapter version in the registry to tensors that are ready to be attached: read, check, fold."""

import json
import os
import threading
from collections.abc import Callable
from functools import lru_cache, partial

import torch

from models_registry.adapters.catalog import parse_stored
from models_registry.adapters.checkpoint import Layout, lay_out
from models_registry.adapters.folded import serving_dtype
from models_registry.errors import NoRoom
from models_registry.injection.adapted_model import AdaptedModel, PreparedAdapter
from models_registry.records import AdapterVersion, Architecture
from models_registry.safetensors_files import read_safetensors

# Many may wait for the blob store at once; preparing needs the processor, which the forwards want too. On two cores a
# second one would slow the forwards down by more than it hastens the loads.
AT_ONCE = 2 if (os.cpu_count() or 1) > 2 else 1
MOST_LAYOUTS = 64
"""Adapters of one model mostly share a few configs; what was found for one of these is kept."""


class AdapterLoader:
    """For one base model; any thread may ask."""

    def __init__(self, adapted: AdaptedModel, read_weights: Callable[[AdapterVersion], bytes]) -> None:
        self._adapted = adapted
        self._read_weights = read_weights
        self._preparing = threading.Semaphore(AT_ONCE)
        self._layout = lru_cache(MOST_LAYOUTS)(partial(_lay_out, adapted.architecture))

    def estimate(self, version: AdapterVersion) -> int:
        """The bytes that it will probably take: each number as serving computes with it."""
        floating = (p.dtype for p in self._adapted.module.parameters() if p.is_floating_point())
        return version.parameters * serving_dtype(next(floating, torch.float32)).itemsize

    def prepare(self, version: AdapterVersion, limit: int | None) -> PreparedAdapter:
        """Raises as `read_weights` does, `Invalid` where the bytes are no adapter of this model, and `NoRoom` where it
        takes more than `limit` bytes, where there is one."""
        weights = self._read_weights(version)
        with self._preparing:
            tensors = read_safetensors(weights)
            layout = self._layout(json.dumps(version.config))
            prepared = self._adapted.prepare_adapter(layout.match(tensors))
        if limit is not None and prepared.bytes > limit:
            raise NoRoom(
                f"{version.reference} takes {prepared.bytes} bytes, but all adapters of a model may take {limit}; "
                "raise ADAPTER_SERVICE_MAX_RESIDENT_BYTES."
            )
        return prepared


def _lay_out(architecture: Architecture, config: str) -> Layout:
    # What a stored config names and the base model lacks was accepted once.
    return lay_out(parse_stored(json.loads(config)), architecture, accept_unmatched=True)
