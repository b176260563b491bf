"""An inference's outputs on their way out, as JSON or as safetensors.

JSON writes a tensor as `{"dtype", "shape", "data"}`, as base_models/json_inputs.py reads it.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch

from models_registry.architecture import dtype_name
from models_registry.base_models.spec import OutputValue
from models_registry.safetensors_files import write_safetensors


def encode_outputs(outputs: Mapping[str, OutputValue]) -> dict[str, Any]:
    """Every output as JSON: tensors as `{dtype, shape, data}`, strings as a list."""
    return {name: _encode(value) if isinstance(value, torch.Tensor) else list(value) for name, value in outputs.items()}


def encode_safetensors(outputs: Mapping[str, OutputValue], answer: str) -> bytes:
    """The tensors among the outputs as a safetensors file, with `answer` under its metadata key `answer`."""
    tensors = {name: value.detach().cpu() for name, value in outputs.items() if isinstance(value, torch.Tensor)}
    return write_safetensors(tensors, metadata={"answer": answer})


def _encode(tensor: torch.Tensor) -> dict[str, Any]:
    flat = tensor.detach().cpu().flatten()
    data: list[Any] = flat.tolist()
    if tensor.dtype.is_floating_point and not bool(torch.isfinite(flat).all()):
        data = [number if math.isfinite(number) else _name_of(number) for number in data]
    return {"dtype": dtype_name(tensor.dtype), "shape": list(tensor.shape), "data": data}


def _name_of(number: float) -> str:
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
