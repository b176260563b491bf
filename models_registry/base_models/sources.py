"""From a source, as a caller names it, to its spec: everything that can be refused before anything is built."""

import os
from dataclasses import dataclass
from pathlib import Path

from models_registry.base_models.factories import find_factory
from models_registry.base_models.huggingface import HuggingFaceSpec
from models_registry.base_models.python import PythonSpec
from models_registry.base_models.spec import BaseModelSpec
from models_registry.base_models.tasks import check_task
from models_registry.errors import Invalid
from models_registry.records import Fault, HuggingFaceSource, PythonSource, Source

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
GGUF_MAGIC = b"GGUF"


@dataclass(frozen=True, slots=True)
class SourcePolicy:
    """What the operator allows: directories that models lie under, factories (`package.module:callable` or `…:*`)."""

    model_roots: tuple[Path, ...]
    factories: tuple[str, ...]


def open_spec(source: Source, task: str | None, policy: SourcePolicy, num_labels: int | None = None) -> BaseModelSpec:
    """Raises `Invalid` for an unknown task, `num_labels` where no classifier is built from files, a path outside the
    roots after resolving links, a directory that is not there or holds no safetensors, a file that is no GGUF, a
    factory that isn't on the list or can't be imported."""
    if task is not None:
        check_task(task)
    match source:
        case PythonSource():
            if num_labels is not None:
                message = "num_labels is for huggingface sources; a factory gets its numbers as kwargs."
                raise Invalid(message, [Fault(("num_labels",), message)])
            return PythonSpec(source, find_factory(source.factory, policy.factories), task)
        case HuggingFaceSource():
            directory = find_directory(source.path, policy.model_roots)
            _check_links(directory, policy.model_roots)
            if source.file is None:
                _check_safetensors(directory)
            else:
                _check_gguf(directory, source.file)
            return HuggingFaceSpec(directory, source.file, task, num_labels)


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
        found = f"only {', '.join(pickles)}, which can run code when read" if pickles else "no weights"
        raise _refuse("path", f"{directory.name} has no .safetensors file but {found}; convert it to safetensors.")


def _check_gguf(directory: Path, name: str) -> None:
    if name not in (entry.name for entry in directory.iterdir() if entry.is_file()):
        raise _refuse("file", f"There is no file {name!r} in {directory.name}.")
    with (directory / name).open("rb") as stream:
        if stream.read(len(GGUF_MAGIC)) != GGUF_MAGIC:
            raise _refuse("file", f"{name!r} is not a GGUF file.")


def _refuse(key: str, message: str) -> Invalid:
    return Invalid(message, [Fault(("source", key), message)])
