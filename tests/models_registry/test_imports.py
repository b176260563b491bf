"""What a process pulls in that only reads records, adapters and inputs: no transformers, no live base models."""

import json
import subprocess
import sys

# In a process of its own, because this one has imported everything already.
IMPORT_ALL = """
import json, pkgutil, sys
from importlib import import_module

for name in sys.argv[1:]:
    module = import_module(name)
    for found in pkgutil.walk_packages(getattr(module, "__path__", ()), f"{name}."):
        import_module(found.name)
print(json.dumps(sorted(sys.modules)))
"""

LIVE = {"transformers", "models_registry.architecture", "models_registry.injection"}


def modules_after_importing(*names: str) -> set[str]:
    """The modules of a fresh process that has imported these, and all that lies below them."""
    command = [sys.executable, "-c", IMPORT_ALL, *names]
    return set(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def test_registry_and_adapters_need_neither_transformers_nor_live_modules() -> None:
    loaded = modules_after_importing(
        "models_registry.registry",
        "models_registry.adapters",
        "models_registry.storage",
        "models_registry.safetensors_files",
    )
    assert "models_registry.adapters.checkpoint" in loaded
    assert not loaded & (LIVE | {"models_registry.base_models"})


def test_checking_sources_and_reading_inputs_need_no_transformers() -> None:
    loaded = modules_after_importing("models_registry.base_models.sources", "models_registry.inputs")
    base_models = {name for name in loaded if name.startswith("models_registry.base_models")}
    assert base_models == {"models_registry.base_models", "models_registry.base_models.sources"}
    assert not loaded & LIVE
