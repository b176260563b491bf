"""JSON's text as a value. Imports little, for a small process of its own reads what is large (json_worker.py)."""

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import orjson

from models_registry.inputs.json_arrays import read_array

MAX_VALUES = 100_000
"""How many values an object that is kept may hold: what is done with each of them costs more than reading it."""

_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_CONTAINERS = frozenset({dict, list})
_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class NotJson(Exception):
    """Says what is wrong, in a sentence for the caller."""


def parse_json(body: bytes) -> Any:
    """Strict JSON in UTF-8: no bare NaN, no half of a surrogate pair, no key twice in one object, which readers take
    for different things (RFC 8259, 4). Raises `NotJson`."""
    try:
        text = body.decode("utf-8-sig")
        value = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_object_of)
        if _ESCAPED_SURROGATE.search(body):
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as error:
        raise NotJson("The JSON is nested too deeply to be read.") from error
    except UnicodeEncodeError as error:
        raise NotJson("The JSON holds half of a surrogate pair, which is no character.") from error
    except UnicodeDecodeError as error:
        raise NotJson(f"The JSON is not UTF-8: {error.reason} at byte {error.start}.") from error
    except _RepeatedKey as error:
        raise NotJson(f"The JSON has the key {error} more than once in one object; give it once.") from error
    except ValueError as error:
        raise NotJson(f"This is not JSON: {error}." if body.strip() else "This is not JSON, but empty.") from error
    return value


def parse_tensors(body: bytes) -> Any:
    """As `parse_json`, many times as fast, and not for what is kept: a whole number beyond 64 bits becomes a float."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return parse_json(body)  # which takes a byte order mark, and has words for what is wrong
    # Of a key that comes twice only one is left, and outside of strings a colon stands behind every key alone.
    return value if _STRING.sub(b"", body).count(b":") == _count_keys(value) else parse_json(body)


def read_call(body: bytes) -> Any:
    """An inference's body, by `parse_tensors`. Its `inputs` are each a `JsonArray` or `Unreadable`, but for texts and
    chats."""
    value = parse_tensors(body)
    inputs = value.get("inputs") if isinstance(value, dict) else None
    if isinstance(inputs, dict) and "messages" not in inputs:
        value["inputs"] = {name: item if name == "text" else read_array(item) for name, item in inputs.items()}
    return value


@dataclass(frozen=True, slots=True)
class Read:
    """`value`, unless one of the others says why there is none. `crowded`: it holds more values than are passed on."""

    value: Any = None
    malformed: str | None = None
    crowded: bool = False


def read(reader: Callable[[bytes], Any], body: bytes) -> Read:
    try:
        value = reader(body)
    except NotJson as error:
        return Read(malformed=str(error))
    return Read(crowded=True) if holds_many(value) else Read(value)


def holds_many(value: Any) -> bool:
    """Whether `value` holds more than `MAX_VALUES`."""
    level, values = [value], 0
    while level and values <= MAX_VALUES:
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict | list):
                values += len(item)
                below += item.values() if isinstance(item, dict) else item
        level = below
    return values > MAX_VALUES


class _RepeatedKey(ValueError):
    """The key, as JSON writes it."""


def _object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise _RepeatedKey(json.dumps(next(key for key, count in counts.items() if count > 1)))
    return value


def _count_keys(value: Any) -> int:
    """In all of its objects. Works level by level, in C's loops for what holds neither lists nor objects."""
    level, keys = [value], 0
    while level:
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                keys += len(item)
                below += item.values()
            elif isinstance(item, list) and not _CONTAINERS.isdisjoint(map(type, item)):
                below += item
        level = below
    return keys


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f'{constant} is not JSON; in tensors, write it as a string: "{constant}"')
