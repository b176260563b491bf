"""An inference's body in the protocol's JSON as a value. Imports little: a small process reads what is large."""

from collections.abc import Mapping
from itertools import chain
from typing import Any

from models_registry.inputs.json_arrays import JsonArray, Unreadable, read_array
from service.front.api.http.json_text import parse_tensors
from service.front.api.v2.datatypes import TORCH_NAMES


def read_inference(body: bytes) -> Any:
    """By `parse_tensors`. The `data` of each input whose datatype is one of torch's is a `JsonArray` or `Unreadable`,
    so that what is passed on holds no list of numbers. Raises `NotJson`."""
    value = parse_tensors(body)
    inputs = value.get("inputs") if isinstance(value, dict) else None
    for tensor in inputs if isinstance(inputs, list) else ():
        if isinstance(tensor, dict) and "data" in tensor and _has_numbers(tensor.get("datatype")):
            tensor["data"] = _read(tensor)
    return value


def flat(data: Any) -> Any:
    """Nested lists row by row; the protocol takes both. What is no list, or lists beside numbers, stays as it is."""
    while isinstance(data, list) and data and all(isinstance(item, list) for item in data):
        data = list(chain.from_iterable(data))
    return data


def _has_numbers(datatype: Any) -> bool:
    return isinstance(datatype, str) and datatype in TORCH_NAMES


def _read(tensor: Mapping[str, Any]) -> JsonArray | Unreadable:
    written = {
        "dtype": TORCH_NAMES[tensor["datatype"]],
        "shape": tensor.get("shape"),
        "data": flat(tensor["data"]),
    }
    return read_array(written)
