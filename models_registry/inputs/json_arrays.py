"""Arrays as JSON writes them: nested lists, or `{"dtype", "shape", "data"}` with flat, row-major data.

Without torch, so that a small process can read them. Non-finite numbers are the strings of protobuf's JSON.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models_registry.records import Location

Numbers: TypeAlias = NDArray[np.bool_] | NDArray[np.int64] | NDArray[np.float64]

DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64")
"""By torch's names."""
_KEYS = frozenset({"dtype", "shape", "data"})
_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_MAX_DIMENSIONS = 32
_MAX_SIZE = 2**31 - 1


@dataclass(frozen=True, slots=True)
class JsonArray:
    """An array of `dtype`, one of `DTYPES`, whose numbers still are as wide as JSON's: row-major, `shape` of them."""

    dtype: str
    shape: tuple[int, ...]
    numbers: Numbers


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Why a value is no array, and where in it."""

    message: str
    at: Location


class _Wrong(Exception):
    def __init__(self, message: str, *at: str | int) -> None:
        super().__init__(message)
        self.message = message
        self.at = at


def read_array(value: Any, *, floating: bool = False) -> JsonArray | Unreadable:
    """`value` as JSON's readers give it. `floating`: nested lists of whole numbers are float32, not int64."""
    try:
        return _read_object(value) if isinstance(value, dict) else _read_nested(value, floating)
    except _Wrong as wrong:
        return Unreadable(wrong.message, wrong.at)


def _read_nested(value: Any, floating: bool) -> JsonArray:
    shape, flat = _flatten(value)
    dtype = "float32" if floating else _dtype_for(flat)
    return JsonArray(dtype, shape, _numbers(flat, dtype, shape))


def _read_object(value: Mapping[str, Any]) -> JsonArray:
    if odd := value.keys() ^ _KEYS:
        raise _Wrong(f"must have dtype, shape and data, and nothing else; missing or unknown: {', '.join(sorted(odd))}")
    dtype, data = value["dtype"], value["data"]
    if dtype not in DTYPES:
        raise _Wrong(f"must be one of {', '.join(DTYPES)}", "dtype")
    shape = _checked_shape(value["shape"])
    if not isinstance(data, list) or any(kind in (list, dict) for kind in set(map(type, data))):
        raise _Wrong("must be a flat list of numbers, row by row", "data")
    if len(data) != math.prod(shape):
        raise _Wrong(f"has {len(data)} numbers, but shape {list(shape)} needs {math.prod(shape)}", "data")
    try:
        return JsonArray(dtype, shape, _numbers(data, dtype, shape))
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


def _dtype_for(flat: Sequence[Any]) -> str:
    kinds = set(map(type, flat))
    if kinds == {bool}:
        return "bool"
    return "int64" if kinds == {int} else "float32"


def _numbers(flat: list[Any], dtype: str, shape: tuple[int, ...]) -> Numbers:
    """Numbers of JSON for `dtype`, none of them bent to fit: what isn't one, or lies outside the dtype, is `_Wrong`."""
    if dtype == "bool":
        _only(flat, (bool,), "true or false", shape)
        return np.array(flat, np.bool_)
    if "float" not in dtype:
        _only(flat, (int,), "a whole number", shape)
        _within(flat, dtype, shape)
        return np.array(flat, np.int64)
    if str in set(map(type, flat)):
        flat = _with_non_finite(flat, shape)
    _only(flat, (int, float), "a number", shape)
    try:
        return np.array(flat, np.float64)
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
    raise _Wrong(f"holds {json_type(flat[odd])} where {wanted} belongs", *_indices(odd, shape))


def _within(flat: Sequence[int], dtype: str, shape: Sequence[int]) -> None:
    bounds = np.iinfo(dtype)
    low, high = int(bounds.min), int(bounds.max)
    if not flat or (low <= min(flat) and max(flat) <= high):
        return
    odd = next(index for index, number in enumerate(flat) if not low <= number <= high)
    raise _Wrong(f"holds a number outside {dtype} ({low} to {high})", *_indices(odd, shape))


def _indices(flat_index: int, shape: Sequence[int]) -> Location:
    indices: list[int] = []
    for size in reversed(shape):
        flat_index, index = divmod(flat_index, size)
        indices.append(index)
    return tuple(reversed(indices))


def json_type(value: Any) -> str:
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
