"""An adapter as PEFT saves it: `adapter_config.json` and `adapter_model.safetensors`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from service.client.tensors import encode_arrays

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


@dataclass(frozen=True, slots=True)
class CheckpointFiles:
    """Both files' bytes."""

    config: bytes
    weights: bytes

    @classmethod
    def open(cls, directory: str | Path) -> Self:
        """From a directory that `PeftModel.save_pretrained` wrote.

        Raises `FileNotFoundError` where one of the files is missing; it says which, and what to do about a `.bin`.
        """
        found = Path(directory)
        missing = [name for name in (CONFIG, WEIGHTS) if not (found / name).is_file()]
        if missing == [WEIGHTS] and (found / "adapter_model.bin").is_file():
            raise FileNotFoundError(
                f"{found} has its weights as adapter_model.bin, a pickle, which is never uploaded. Load the adapter "
                "with PEFT and save it again: `save_pretrained` writes safetensors."
            )
        if missing:
            raise FileNotFoundError(f"{found} has no {' and no '.join(missing)}: give the directory PEFT saved.")
        return cls((found / CONFIG).read_bytes(), (found / WEIGHTS).read_bytes())

    @classmethod
    def of(cls, config: Mapping[str, Any], state_dict: Mapping[str, Any]) -> Self:
        """From a config and a state dict of arrays, in the keys of `get_peft_model_state_dict`."""
        return cls(json.dumps(dict(config)).encode(), encode_arrays(state_dict))

    def save(self, directory: str | Path) -> Path:
        """Write both files into `directory`, which is made where it is missing."""
        target = Path(directory)
        target.mkdir(parents=True, exist_ok=True)
        (target / CONFIG).write_bytes(self.config)
        (target / WEIGHTS).write_bytes(self.weights)
        return target


def as_files(checkpoint: str | Path | CheckpointFiles) -> CheckpointFiles:
    """A directory's files; raises as `CheckpointFiles.open`."""
    return checkpoint if isinstance(checkpoint, CheckpointFiles) else CheckpointFiles.open(checkpoint)
