"""What may be a base model's source: everything that names, lists and files show before anything is imported.

Imports neither transformers nor a factory's module, so that a process that builds no models can refuse a source.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from models_registry.errors import Invalid, Unsupported
from models_registry.records import Fault, HuggingFaceSource, PythonSource, Source
from models_registry.task_names import TASKS, TASKS_WITH_LABELS, TEXT_GENERATION

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
GGUF_MAGIC = b"GGUF"


@dataclass(frozen=True, slots=True)
class SourcePolicy:
    """What the operator allows: directories that models lie under, factories (`package.module:callable` or `…:*`)."""

    model_roots: tuple[Path, ...]
    factories: tuple[str, ...]


def check_source(source: Source, task: str | None, policy: SourcePolicy, num_labels: int | None = None) -> None:
    """Refuse what can be refused without building anything; building may still find more.

    Raises:
        Invalid: for an unknown task, `num_labels` where no classifier is built from files, a factory that isn't on the
            list, a path outside the roots after resolving links, a directory that is not there or holds no
            safetensors, a config.json that is no JSON object, a file that is no GGUF.
        Unsupported: for quantised weights.
    """
    check_task(task)
    match source:
        case PythonSource():
            if num_labels is not None:
                message = "num_labels is for huggingface sources; a factory gets its numbers as kwargs."
                raise Invalid(message, [Fault(("num_labels",), message)])
            check_factory(source.factory, policy.factories)
        case HuggingFaceSource():
            directory = find_directory(source.path, policy.model_roots)
            _check_links(directory, policy.model_roots)
            if source.file is None:
                _check_safetensors(directory)
                _check_config(directory)
            else:
                _check_gguf(directory, source.file)
                task = task or TEXT_GENERATION
            if task is not None:
                check_num_labels(task, num_labels)


def check_task(task: str | None) -> None:
    """Raises `Invalid` for an unknown one."""
    if task is not None and task not in TASKS:
        message = f"{task!r} is not a task we know; use one of {', '.join(TASKS)}."
        raise Invalid(message, [Fault(("task",), message)])


def check_factory(name: str, allowed: Sequence[str]) -> None:
    """Raises `Invalid` unless `allowed` has the factory `name`, or `package.module:*` and the name has no dots.

    Whether a module is what the name says, and offers it as its own, shows only when it is imported.
    """
    module, _, path = name.partition(":")
    by_name = name in allowed
    if not by_name and f"{module}:*" not in allowed:
        raise _refuse("factory", f"{name!r} is not on the list of allowed factories; ask the operator to add it.")
    if not all(part.isidentifier() for part in path.split(".")):
        raise _refuse("factory", f"{name!r} is not a factory: write it as package.module:callable.")
    if not by_name and "." in path:
        raise _refuse("factory", f"'{module}:*' allows whole names only; ask the operator to list {name!r} itself.")


def check_num_labels(task: str | None, num_labels: int | None) -> None:
    """Raises `Invalid` where `num_labels` are asked of a model whose task has none."""
    if num_labels is not None and task not in TASKS_WITH_LABELS:
        message = f"num_labels is for {', '.join(sorted(TASKS_WITH_LABELS))}; the task here is {task}."
        raise Invalid(message, [Fault(("num_labels",), message)])


def find_directory(path: str, roots: tuple[Path, ...]) -> Path:
    """The directory, links resolved. A relative path is taken below the first root that has it."""
    candidates = [_resolve(root / path) for root in roots]  # an absolute path replaces the root
    inside = [found for found in candidates if _is_inside(found, roots)]
    if not inside:
        raise _refuse("path", f"{path!r} lies outside the model roots; ask the operator which directories are allowed.")
    for found in inside:
        if os.path.isdir(found):  # noqa: PTH112 - Path.is_dir raises where a name is too long
            return found
    raise _refuse("path", f"There is no directory {path!r} in the model roots.")


def _resolve(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a name too long, a circle of links, a null byte
        raise _refuse("path", f"The path can't be resolved: {error}") from error


def _is_inside(path: Path, roots: tuple[Path, ...]) -> bool:
    return any(path.is_relative_to(root.resolve()) for root in roots)


def _check_links(directory: Path, roots: tuple[Path, ...]) -> None:
    """A cache of the hub links its files to a neighbouring directory, which is fine as long as a root holds both."""
    leaving = [entry.name for entry in sorted(directory.iterdir()) if not _is_inside(_resolve(entry), roots)]
    if leaving:
        raise _refuse("path", f"{directory.name} has links that lead out of the model roots: {', '.join(leaving)}.")


def _check_safetensors(directory: Path) -> None:
    names = sorted(entry.name for entry in directory.iterdir())
    if "adapter_config.json" in names:
        raise _refuse("path", f"{directory.name} holds an adapter, not a base model; upload it to its base model.")
    if "config.json" not in names:
        raise _refuse("path", f"{directory.name} has no config.json, so it is no transformers directory.")
    if not any(name.endswith(".safetensors") for name in names):
        pickles = [name for name in names if name.endswith(PICKLES)]
        if not pickles:
            raise _refuse("path", f"{directory.name} has no weights: it needs a .safetensors file.")
        found = f"only {', '.join(pickles)}, which can run code when read"
        raise _refuse("path", f"{directory.name} has no .safetensors file but {found}; convert it to safetensors.")


def _check_config(directory: Path) -> None:
    try:
        config: Any = json.loads((directory / "config.json").read_bytes())
    except (ValueError, OSError, RecursionError) as error:
        raise _refuse("path", f"{directory.name}/config.json can't be read: {error}") from error
    if not isinstance(config, dict):
        raise _refuse("path", f"{directory.name}/config.json can't be read: it is no JSON object.")
    if cast(dict[str, Any], config).get("quantization_config") is not None:
        message = f"{directory.name} holds quantised weights, which adapters can't act on; use the unquantised model."
        raise Unsupported(message, [Fault(("source", "path"), message)])


def _check_gguf(directory: Path, name: str) -> None:
    if name not in (entry.name for entry in directory.iterdir() if entry.is_file()):
        raise _refuse("file", f"There is no file {name!r} in {directory.name}.")
    with (directory / name).open("rb") as stream:
        if stream.read(len(GGUF_MAGIC)) != GGUF_MAGIC:
            raise _refuse("file", f"{name!r} is not a GGUF file.")


def _refuse(key: str, message: str) -> Invalid:
    return Invalid(message, [Fault(("source", key), message)])
