"""An inference's outputs on their way out, as JSON or as safetensors.

JSON writes a tensor as `{"dtype", "shape", "data"}`, as inputs/json_inputs.py reads it; each number with as many
digits as its dtype needs to come back the same.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
import torch
from numpy.typing import NDArray

from models_registry.dtypes import dtype_name
from models_registry.inputs.values import OutputValue
from models_registry.safetensors_files import write_safetensors

_SLICE = 64 * 1024
"""Numbers that are written at once: for that long, some ms, nobody else has Python's lock."""
_OF_NUMPY = frozenset({torch.float16, torch.float32, torch.float64})


def encode_outputs(outputs: Mapping[str, OutputValue]) -> dict[str, Any]:
    """Every output for `write_json`: tensors as `{dtype, shape, data}`, strings as a list."""
    return {name: _encode(value) if isinstance(value, torch.Tensor) else list(value) for name, value in outputs.items()}


def write_json(value: Any) -> bytes:
    """`value`, numpy's arrays in it as lists. A number that JSON can't write must not be in it: it would be null."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def encode_safetensors(outputs: Mapping[str, OutputValue], answer: str) -> bytes:
    """The tensors among the outputs as a safetensors file, with `answer` under its metadata key `answer`."""
    tensors = {name: value.detach().cpu() for name, value in outputs.items() if isinstance(value, torch.Tensor)}
    return write_safetensors(tensors, metadata={"answer": answer})


def _encode(tensor: torch.Tensor) -> dict[str, Any]:
    flat = tensor.detach().cpu().flatten()
    if tensor.dtype.is_floating_point and tensor.dtype not in _OF_NUMPY:
        flat = flat.float()
    numbers: NDArray[Any] = flat.numpy()
    data = _nameable(numbers) if numbers.size <= _SLICE else orjson.Fragment(_in_slices(numbers))
    return {"dtype": dtype_name(tensor.dtype), "shape": list(tensor.shape), "data": data}


def _in_slices(numbers: NDArray[Any]) -> bytes:
    slices = (numbers[start : start + _SLICE] for start in range(0, numbers.size, _SLICE))
    return b"[%s]" % b",".join(write_json(_nameable(part))[1:-1] for part in slices)


def _nameable(numbers: NDArray[Any]) -> Any:
    """With the names of those that JSON has no word for."""
    if numbers.dtype.kind != "f" or np.isfinite(numbers).all():
        return numbers
    return [number if math.isfinite(number) else _name_of(number) for number in numbers.tolist()]


def _name_of(number: float) -> str:
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
