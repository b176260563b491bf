"""Which modules a process ends up with: asked of a fresh one, because a test's has imported everything already."""

import json
import subprocess
import sys

IMPORT_ALL = """
import json, pkgutil, sys
from importlib import import_module

for name in sys.argv[1:]:
    module = import_module(name)
    for found in pkgutil.walk_packages(getattr(module, "__path__", ()), f"{name}."):
        import_module(found.name)
print(json.dumps(sorted(sys.modules)))
"""

LIVE = ("transformers", "models_registry.architecture", "models_registry.injection", "service.host")
"""What only a process that builds and runs base models imports, and whatever lies below."""


def modules_after_importing(*names: str) -> set[str]:
    """The modules of a fresh process that has imported these, and all that lies below them."""
    command = [sys.executable, "-c", IMPORT_ALL, *names]
    return set(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def below(modules: set[str], *packages: str) -> set[str]:
    """Those of `modules` that are one of `packages` or lie below one."""
    return {name for name in modules if any(name == p or name.startswith(f"{p}.") for p in packages)}
