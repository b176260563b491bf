"""Named inputs as JSON writes them, into tensors: what a caller sends and what a registration gives as an example.

A tensor is nested lists, or `{"dtype", "shape", "data"}` with torch's dtype names and flat, row-major data. Non-finite
numbers are the strings of protobuf's JSON. Nothing here knows what a base model takes.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import torch

from models_registry.architecture import dtype_name
from models_registry.base_models.spec import Inputs
from models_registry.errors import Invalid
from models_registry.records import Fault, Location

_DTYPES = {
    dtype_name(dtype): dtype
    for dtype in (
        torch.bool,
        torch.uint8,
        torch.int8,
        torch.int16,
        torch.int32,
        torch.int64,
        torch.float16,
        torch.bfloat16,
        torch.float32,
        torch.float64,
    )
}
_KEYS = frozenset({"dtype", "shape", "data"})
_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_MAX_DIMENSIONS = 32
_MAX_SIZE = 2**31 - 1


class _Wrong(Exception):
    """One tensor can't be read; `decode_inputs` collects these, so that the caller sees all of them at once."""

    def __init__(self, message: str, *at: str | int) -> None:
        super().__init__(message)
        self.message = message
        self.at = at


def decode_inputs(raw: Mapping[str, Any], at: str = "inputs", *, floats: Collection[str] = ()) -> Inputs:
    """`{"text": [...]}` or named tensors, from JSON. Raises `Invalid` with every input that is wrong, and its row.

    `at` is where `raw` stands in what the caller sent, for the faults. Whole numbers of the inputs `floats` are read as
    float32.
    """
    if not raw:
        raise _invalid([Fault((at,), "is empty: give named tensors, or a list of strings as `text`")])
    if "text" in raw:
        return Inputs(texts=_decode_texts(raw, at))
    tensors: dict[str, torch.Tensor] = {}
    faults: list[Fault] = []
    for name, value in raw.items():
        try:
            tensors[name] = _decode_object(value) if isinstance(value, dict) else _decode_nested(value, name in floats)
        except _Wrong as wrong:
            faults.append(Fault((at, name, *wrong.at), wrong.message))
    if faults:
        raise _invalid(faults)
    return Inputs(tensors=tensors)


def whole_numbers(raw: Mapping[str, Any]) -> tuple[str, ...]:
    """The inputs that `decode_inputs` reads as int64 because JSON's numbers have no dtype of their own."""
    nested = {name: _flatten(value)[1] for name, value in raw.items() if name != "text" and isinstance(value, list)}
    return tuple(name for name, flat in nested.items() if _dtype_for(flat) is torch.int64)


def _decode_texts(raw: Mapping[str, Any], at: str) -> tuple[str, ...]:
    faults = [Fault((at, name), "can't be mixed with `text`: send tensors or text") for name in raw.keys() - {"text"}]
    texts = raw["text"]
    if not isinstance(texts, list) or not texts:
        faults.append(Fault((at, "text"), "must be a list of strings, one for each row"))
    else:
        faults += [
            Fault((at, "text", row), f"must be a string, not {_json_type(text)}")
            for row, text in enumerate(texts)
            if not isinstance(text, str)
        ]
    if faults:
        raise _invalid(faults)
    return tuple(texts)


def _decode_nested(value: Any, floating: bool = False) -> torch.Tensor:
    shape, flat = _flatten(value)
    return _tensor(flat, torch.float32 if floating else _dtype_for(flat), shape)


def _decode_object(value: Mapping[str, Any]) -> torch.Tensor:
    if odd := value.keys() ^ _KEYS:
        raise _Wrong(f"must have dtype, shape and data, and nothing else; missing or unknown: {', '.join(sorted(odd))}")
    dtype = _DTYPES.get(value["dtype"]) if isinstance(value["dtype"], str) else None
    if dtype is None:
        raise _Wrong(f"must be one of {', '.join(_DTYPES)}", "dtype")
    shape = _checked_shape(value["shape"])
    data = value["data"]
    if not isinstance(data, list) or any(kind in (list, dict) for kind in set(map(type, data))):
        raise _Wrong("must be a flat list of numbers, row by row", "data")
    if len(data) != math.prod(shape):
        raise _Wrong(f"has {len(data)} numbers, but shape {list(shape)} needs {math.prod(shape)}", "data")
    try:
        return _tensor(data, dtype, shape)
    except _Wrong as wrong:
        raise _Wrong(wrong.message, "data", *wrong.at) from wrong


def _checked_shape(shape: Any) -> tuple[int, ...]:
    if not isinstance(shape, list) or any(type(size) is not int or not 0 <= size <= _MAX_SIZE for size in shape):
        raise _Wrong(f"must be a list of sizes from 0 to {_MAX_SIZE}", "shape")
    if len(shape) > _MAX_DIMENSIONS or math.prod(max(size, 1) for size in shape) > 2**62:
        raise _Wrong(f"has more than {_MAX_DIMENSIONS} dimensions, or too large ones", "shape")
    return tuple(shape)


def _flatten(value: Any) -> tuple[tuple[int, ...], list[Any]]:
    """Nested lists as their shape and their numbers, row-major. Works level by level, in C's loops where it can."""
    shape: list[int] = []
    level: list[Any] = [value]
    while list in (kinds := set(map(type, level))):
        sizes = {len(items) for items in level if type(items) is list}
        if kinds != {list} or len(sizes) > 1:
            raise _ragged(level, shape)
        shape.append(sizes.pop())
        if len(shape) > _MAX_DIMENSIONS:
            raise _Wrong(f"is nested more than {_MAX_DIMENSIONS} lists deep")
        level = list(chain.from_iterable(level))
    return tuple(shape), level


def _ragged(level: Sequence[Any], shape: Sequence[int]) -> _Wrong:
    """The first item that differs from the first one of its level, and the row that it lies in."""
    wanted = _size(level[0])
    odd = next(index for index, item in enumerate(level) if _size(item) != wanted)
    row = odd // (len(level) // shape[0])
    return _Wrong(f"row {row} is ragged: {_size(level[odd])} where row 0 has {wanted}", row)


def _size(item: Any) -> str:
    return f"{len(item)} items" if type(item) is list else "no list"


def _dtype_for(flat: Sequence[Any]) -> torch.dtype:
    kinds = set(map(type, flat))
    if kinds == {bool}:
        return torch.bool
    return torch.int64 if kinds == {int} else torch.float32


def _tensor(flat: list[Any], dtype: torch.dtype, shape: tuple[int, ...]) -> torch.Tensor:
    """Numbers of JSON in `dtype`, none of them bent to fit: what isn't one, or lies outside the dtype, is `_Wrong`."""
    kinds = set(map(type, flat))
    if dtype.is_floating_point:
        if str in kinds:
            flat = _with_non_finite(flat, shape)
        _only(flat, (int, float), "a number", shape)
    elif dtype is torch.bool:
        _only(flat, (bool,), "true or false", shape)
    else:
        _only(flat, (int,), "a whole number", shape)
        _within(flat, torch.iinfo(dtype), shape)
    try:
        return torch.tensor(flat, dtype=dtype).reshape(shape)
    except OverflowError as error:
        raise _Wrong("holds a whole number that is too large for a float") from error


def _with_non_finite(flat: Sequence[Any], shape: Sequence[int]) -> list[Any]:
    unknown = next((i for i, item in enumerate(flat) if isinstance(item, str) and item not in _NON_FINITE), None)
    if unknown is not None:
        raise _Wrong(
            f"holds a string where a number belongs (only {', '.join(_NON_FINITE)} are numbers)",
            *_indices(unknown, shape),
        )
    return [_NON_FINITE[item] if isinstance(item, str) else item for item in flat]


def _only(flat: Sequence[Any], kinds: tuple[type, ...], wanted: str, shape: Sequence[int]) -> None:
    if set(map(type, flat)) <= set(kinds):
        return
    odd = next(index for index, item in enumerate(flat) if type(item) not in kinds)
    raise _Wrong(f"holds {_json_type(flat[odd])} where {wanted} belongs", *_indices(odd, shape))


def _within(flat: Sequence[int], bounds: torch.iinfo, shape: Sequence[int]) -> None:
    if not flat or (bounds.min <= min(flat) and max(flat) <= bounds.max):
        return
    odd = next(index for index, number in enumerate(flat) if not bounds.min <= number <= bounds.max)
    raise _Wrong(f"holds a number outside {bounds.dtype} ({bounds.min} to {bounds.max})", *_indices(odd, shape))


def _indices(flat_index: int, shape: Sequence[int]) -> Location:
    indices: list[int] = []
    for size in reversed(shape):
        flat_index, index = divmod(flat_index, size)
        indices.append(index)
    return tuple(reversed(indices))


def _json_type(value: Any) -> str:
    names: Mapping[type, str] = {
        type(None): "null",
        bool: "true or false",
        int: "a whole number",
        float: "a fraction",
        str: "a string",
        list: "a list",
        dict: "an object",
    }
    return names[type(value)]


def _invalid(faults: Iterable[Fault]) -> Invalid:
    return Invalid("The inputs can't be read.", faults)
