"""An adapter as PEFT saves it: `adapter_config.json` and `adapter_model.safetensors`."""

import json
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol, Self, TypeAlias, runtime_checkable

from service.client.hub_layout import origin_of, repository_of, require_inside, snapshot_of
from service.client.tensors import encode_arrays

CONFIG, WEIGHTS, PICKLE = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"


@dataclass(frozen=True, slots=True)
class CheckpointFiles:
    """Both files: the config's bytes, and the weights' or their path, from which they are read as they are sent."""

    config: bytes
    weights: bytes | Path
    origin: Mapping[str, str] = field(default_factory=dict[str, str])
    """Where they come from, as a version's metadata says it."""

    @classmethod
    def open(cls, directory: str | Path) -> Self:
        """From a directory that `PeftModel.save_pretrained` wrote, or a repository in Hugging Face's cache
        (`models--org--name`, or a snapshot in it).

        Raises `FileNotFoundError` where one of the files is missing; it says which, and what to do about a `.bin`.
        """
        found = snapshot_of(Path(directory))
        missing = [name for name in (CONFIG, WEIGHTS) if not (found / name).is_file()]
        if missing == [WEIGHTS] and (found / PICKLE).is_file():
            raise FileNotFoundError(
                f"{found} has its weights as {PICKLE}, a pickle, which is never uploaded. Run "
                f"`adapters convert {found}`, which writes {WEIGHTS} beside it."
            )
        if missing:
            raise FileNotFoundError(f"{found} has no {' and no '.join(missing)}: give the directory PEFT saved.")
        if (repository := repository_of(found)) is None:
            return cls((found / CONFIG).read_bytes(), found / WEIGHTS)
        for name in (CONFIG, WEIGHTS):
            require_inside(repository, found / name)
        return cls((found / CONFIG).read_bytes(), found / WEIGHTS, origin_of(repository, found))

    @classmethod
    def of(cls, config: Mapping[str, Any], state_dict: Mapping[str, Any]) -> Self:
        """From a config and a state dict of arrays or tensors, in the keys of `get_peft_model_state_dict`."""
        return cls(json.dumps(dict(config), default=_plain).encode(), encode_arrays(state_dict))

    @property
    def size(self) -> int:
        """Bytes of the weights."""
        return len(self.weights) if isinstance(self.weights, bytes) else self.weights.stat().st_size

    def save(self, directory: str | Path) -> Path:
        """Write both files into `directory`, which is made where it is missing."""
        target = Path(directory)
        target.mkdir(parents=True, exist_ok=True)
        if isinstance(self.weights, bytes):
            (target / WEIGHTS).write_bytes(self.weights)
        elif self.weights.resolve() != (target / WEIGHTS).resolve():
            shutil.copyfile(self.weights, target / WEIGHTS)
        (target / CONFIG).write_bytes(self.config)
        return target


@runtime_checkable
class PeftConfigLike(Protocol):
    """What `peft.PeftConfig` has of it."""

    def to_dict(self) -> dict[str, Any]: ...


@runtime_checkable
class PeftModelLike(Protocol):
    """What `peft.PeftModel` has of it."""

    peft_config: Any
    active_adapter: Any

    def save_pretrained(self, save_directory: str, /, *, selected_adapters: list[str]) -> None: ...


Checkpoint: TypeAlias = (
    str | Path | CheckpointFiles | PeftModelLike | tuple[Mapping[str, Any], Mapping[str, Any] | PeftConfigLike]
)
"""The directory that PEFT's `save_pretrained` wrote, `CheckpointFiles`, a `PeftModel`, or a state dict and a config."""


@contextmanager
def opened(checkpoint: Checkpoint) -> Generator[CheckpointFiles]:
    """Its files, which are there until the end. Raises as `CheckpointFiles.open`."""
    if isinstance(checkpoint, CheckpointFiles):
        yield checkpoint
    elif isinstance(checkpoint, str | Path):
        yield CheckpointFiles.open(checkpoint)
    elif isinstance(checkpoint, tuple):
        state_dict, config = checkpoint
        yield CheckpointFiles.of(config.to_dict() if isinstance(config, PeftConfigLike) else config, state_dict)
    else:
        with TemporaryDirectory(prefix="adapter-") as directory:
            name = checkpoint.active_adapter
            checkpoint.save_pretrained(directory, selected_adapters=[name])
            # PEFT gives each adapter a directory of its own, but for the one that is called `default`.
            yield CheckpointFiles.open(Path(directory) / ("" if name == "default" else name))


def _plain(value: object) -> object:
    """A config's sets, as PEFT writes them."""
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"a config can't hold {value!r}: JSON has nothing for {type(value).__name__}.")
