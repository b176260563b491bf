"""A registry with something in it, for a test: a base model as it would be built, and what a version may hold."""

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any, TypeVar

from models_registry.errors import RegistryError
from models_registry.records import Architecture, ModuleInfo, ParameterInfo, PythonSource
from models_registry.registry import Registry, VersionContent

T = TypeVar("T")

SOURCE = PythonSource("bases:tiny", {"width": 4})
ARCHITECTURE = Architecture(
    modules=(
        ModuleInfo("", "Sequential", None),
        ModuleInfo("0", "Linear", "linear", 4, 2, parameters={"weight": ParameterInfo((2, 4), "bfloat16", "a" * 64)}),
        ModuleInfo("1", "Conv2d", "conv2d", 4, 4, (3, 3), 2, "float16", refusal="an example"),
    ),
    fingerprint="f" * 64,
    parameters=8,
    bytes=16,
    model_type="llama",
)
OTHER_WEIGHTS = dataclasses.replace(ARCHITECTURE, fingerprint="0" * 64)


def content(weights: bytes = b"weights", **changed: Any) -> VersionContent:
    config = {"peft_type": "LORA", "r": 4, "target_modules": ["0"], "rank_pattern": {}, "bias": None}
    fields = VersionContent(
        method="LORA", config=config, weights=weights, parameters=24, targets=["0"], metadata={"by": "Ada", "n": [1]}
    )
    return fields | changed  # pyright: ignore[reportReturnType] - a test may change any field


def build(registry: Registry, id: str = "base") -> None:
    registry.register_base_model(id, SOURCE)
    registry.record_built(id, ARCHITECTURE)


def kinds(registry: Registry, after: int = 0) -> list[tuple[str, str]]:
    """What happened to what, in order."""
    return [(event.kind, event.subject) for event in registry.list_events(1000, after)]


def at_once(count: int, call: Callable[[int], T]) -> list[T | RegistryError]:
    """What `call` gives those who make it at the same moment, or which of our errors it raises."""
    start = Barrier(count)

    def run(number: int) -> T | RegistryError:
        start.wait()
        try:
            return call(number)
        except RegistryError as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))
