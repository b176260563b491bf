"""How a config's names and regular expressions match module names: PEFT's rules, with a limit on time.

The expressions come from callers. The standard `re` would hold the whole process on a hostile one, so `regex` runs
them, without the interpreter's lock and with a deadline.
"""

import re
from collections.abc import Mapping
from math import prod
from typing import TypeVar

import regex

from models_registry.errors import Invalid

Value = TypeVar("Value")
DEADLINE_S = 1.0
LONGEST = 10_000
MOST_REPETITIONS = 1_000


def matches(entries: str | tuple[str, ...], name: str) -> bool:
    """A string is an expression for the whole name; a list's entries are names, or end it after a dot."""
    if isinstance(entries, str):
        return _run(entries, name, "fullmatch") is not None
    return not endings(name).isdisjoint(entries)


def endings(name: str) -> frozenset[str]:
    """What an entry may say to mean `name`: the whole of it, or what stands behind one of its dots."""
    parts = name.split(".")
    return frozenset(".".join(parts[start:]) for start in range(len(parts)))


def ends_with(name: str, entry: str) -> bool:
    return name == entry or name.endswith(f".{entry}")


def first_match(pattern: Mapping[str, Value] | None, name: str, default: Value) -> Value:
    """The value of the first key that names or matches `name`, as `rank_pattern` and `alpha_pattern` work."""
    return next((value for key, value in (pattern or {}).items() if key_matches(key, name)), default)


def key_matches(key: str, name: str) -> bool:
    return _run(rf"(.*\.)?({key})$", name, "match") is not None


def index_in(name: str, layers_pattern: tuple[str, ...]) -> int | None:
    """The layer's index in a module name (`model.layers.3.mlp` -> 3), below one of `layers_pattern` if given."""
    expressions = [rf"(?:^|.*?\.){p}\.(?P<idx>\d+)\." for p in layers_pattern] or [r".*?\.[^.]*\.(?P<idx>\d+)\."]
    found = next(filter(None, (_run(expression, name, "match") for expression in expressions)), None)
    return None if found is None else int(found["idx"])


def _compile(expression: str) -> "regex.Pattern[str]":
    # Compiling has no deadline: counted repetitions inside each other are written out one by one.
    repetitions = prod(int(count) for count in re.findall(r"(\d+)\}", expression) if int(count) > 0)
    if len(expression) > LONGEST or repetitions > MOST_REPETITIONS:
        raise Invalid(f"The regular expression {expression[:100]!r} is too large; simplify it.")
    try:
        return regex.compile(expression)
    except regex.error as error:
        raise Invalid(f"{expression!r} is not a regular expression: {error}.") from error


def _run(expression: str, name: str, how: str) -> "regex.Match[str] | None":
    try:
        run = _compile(expression).fullmatch if how == "fullmatch" else _compile(expression).match
        return run(name, timeout=DEADLINE_S, concurrent=True)
    except TimeoutError as error:
        raise Invalid(f"The regular expression {expression!r} takes too long on {name!r}; simplify it.") from error
