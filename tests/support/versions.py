"""Versions for whoever needs rows that name blobs, and nothing that could be run."""

from models_registry.errors import NotFound
from models_registry.records import AdapterVersion, Architecture, PythonSource
from models_registry.registry import Registry, VersionContent

MODEL = "base"
ARCHITECTURE = Architecture((), fingerprint="f" * 64, parameters=0, bytes=0, model_type=None)


def add_adapter(registry: Registry, name: str, weights: bytes) -> AdapterVersion:
    """Version 1 of a new adapter, on a model that is there or made."""
    try:
        registry.find_base_model(MODEL)
    except NotFound:
        registry.register_base_model(MODEL, PythonSource("bases:mlp", {}))
        registry.record_built(MODEL, ARCHITECTURE)
    content = VersionContent(method="LORA", config={}, weights=weights, parameters=0, targets=[], metadata={})
    return registry.create_adapter(MODEL, name, **content)
