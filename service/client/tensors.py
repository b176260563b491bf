"""Named arrays as safetensors bytes and back, without torch.

numpy has no bfloat16. Its 16 bits are the upper half of a float32's, so that reading it as float32 loses nothing.
"""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, TypeAlias

import numpy as np
from safetensors import deserialize
from safetensors.numpy import save

Array: TypeAlias = "np.ndarray[Any, Any]"

_DTYPES: Mapping[str, str] = {
    "BOOL": "?",
    "U8": "<u1",
    "I8": "<i1",
    "U16": "<u2",
    "I16": "<i2",
    "U32": "<u4",
    "I32": "<i4",
    "U64": "<u8",
    "I64": "<i8",
    "F16": "<f2",
    "F32": "<f4",
    "F64": "<f8",
    "C64": "<c8",
}


def encode_arrays(arrays: Mapping[str, Any]) -> bytes:
    """The arrays, or whatever numpy makes arrays of (nested lists), or torch's tensors, as safetensors."""
    torch = sys.modules.get("torch")  # whatever holds tensors has imported it
    if torch is not None and any(isinstance(array, torch.Tensor) for array in arrays.values()):
        return _encode_tensors(torch, arrays)
    return save({name: np.ascontiguousarray(np.asarray(array)) for name, array in arrays.items()})


def _encode_tensors(torch: Any, arrays: Mapping[str, Any]) -> bytes:
    """On whichever device they are, and of dtypes that numpy has nothing for."""
    encode: Callable[[Mapping[str, Any]], bytes] = import_module("safetensors.torch").save
    return encode({name: torch.as_tensor(array).detach().cpu().contiguous() for name, array in arrays.items()})


def decode_arrays(body: bytes) -> dict[str, Array]:
    """Every tensor of a safetensors file by name. Raises `ValueError` for a dtype that numpy has nothing for."""
    return {name: _array(name, tensor) for name, tensor in deserialize(body)}


def _array(name: str, tensor: Mapping[str, Any]) -> Array:
    kind, shape, data = tensor["dtype"], tensor["shape"], tensor["data"]
    if kind == "BF16":
        upper = np.frombuffer(data, "<u2").astype("<u4")
        return (upper << 16).view("<f4").reshape(shape)
    if kind not in _DTYPES:
        raise ValueError(f"the output {name!r} has the dtype {kind}, which numpy has nothing for.")
    return np.frombuffer(data, _DTYPES[kind]).reshape(shape)
