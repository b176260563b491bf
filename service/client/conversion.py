"""`adapter_model.bin`, a pickle, as safetensors: read here by torch's restricted unpickler, never by the service."""

import json
import pickle
import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from service.client.checkpoints import CONFIG, PICKLE, WEIGHTS
from service.client.tensors import encode_arrays
from service.client.uploads import Watch

_BLOCK = 1 << 20
"""Bytes."""

# What the restricted unpickler raises for bytes that no pickle has, beside its refusals.
_UNREADABLE = (pickle.UnpicklingError, RuntimeError, EOFError, ArithmeticError, LookupError, TypeError, ValueError)


def convert(directory: Path, progress: Watch | None = None) -> Path:
    """Write the weights as safetensors beside the pickle, which stays; gives the new file. `progress` is called with
    the bytes that were written, and with how many there are.

    Raises:
        FileNotFoundError: there is no pickle, or no config.
        FileExistsError: the weights are safetensors already.
        ValueError: torch isn't installed, or the pickle holds anything but tensors by name. Nothing was written, and
            nothing of it was run.
    """
    source, target = directory / PICKLE, directory / WEIGHTS
    if target.exists():
        raise FileExistsError(f"{target} is there already: push {directory} as it is.")
    if missing := [file.name for file in (source, directory / CONFIG) if not file.is_file()]:
        raise FileNotFoundError(f"{directory} has no {' and no '.join(missing)}.")
    json.loads((directory / CONFIG).read_bytes())
    weights = encode_arrays(_tensors(source))
    partial = target.with_name(f".{target.name}.partial")
    with partial.open("wb") as out:
        for begin in range(0, len(weights), _BLOCK):
            out.write(weights[begin : begin + _BLOCK])
            if progress is not None:
                progress(out.tell(), len(weights))
    partial.replace(target)
    return target


def _tensors(source: Path) -> Mapping[str, Any]:
    try:
        torch = import_module("torch")
    except ModuleNotFoundError:
        raise ValueError(f"{source} is a pickle, which torch reads safely: pip install torch.") from None
    load: Callable[..., Any] = torch.load
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of which protocol it is; what it holds is looked at below
            found = load(source, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{source} holds more than tensors, or is damaged, and is refused: {reason}") from None
    if not isinstance(found, Mapping) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise ValueError(f"{source} is no state dict: it has to hold tensors by name, and nothing else.")
    return {str(name): tensor.clone() for name, tensor in found.items()}  # two names of one tensor would be refused
