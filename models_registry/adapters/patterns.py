"""How a config's names and regular expressions match module names: PEFT's rules, with a limit on time.

The expressions come from callers. The standard `re` would hold the whole process on a hostile one, so `regex` runs
them, without the interpreter's lock and with a deadline.
"""

import re
from math import prod
from typing import Protocol

import regex

from models_registry.errors import Invalid

DEADLINE_S = 1.0
LONGEST = 10_000
MOST_REPETITIONS = 1_000


class Matching(Protocol):
    """`match` or `fullmatch` of an expression."""

    def __call__(self, string: str, *, timeout: float, concurrent: bool) -> "regex.Match[str] | None": ...


def matches(entries: str | tuple[str, ...], name: str) -> bool:
    """A string is an expression for the whole name; a list's entries are names, or end it after a dot."""
    if isinstance(entries, str):
        return run(compiled(entries).fullmatch, entries, name) is not None
    return not endings(name).isdisjoint(entries)


def endings(name: str) -> frozenset[str]:
    """What an entry may say to mean `name`: the whole of it, or what stands behind one of its dots."""
    parts = name.split(".")
    return frozenset(".".join(parts[start:]) for start in range(len(parts)))


def ends_with(name: str, entry: str) -> bool:
    return name == entry or name.endswith(f".{entry}")


def index_in(name: str, layers_pattern: tuple[str, ...]) -> int | None:
    """The layer's index in a module name (`model.layers.3.mlp` -> 3), below one of `layers_pattern` if given."""
    expressions = [rf"(?:^|.*?\.){p}\.(?P<idx>\d+)\." for p in layers_pattern] or [r".*?\.[^.]*\.(?P<idx>\d+)\."]
    found = next(filter(None, (run(compiled(one).match, one, name) for one in expressions)), None)
    return None if found is None else int(found["idx"])


def compiled(expression: str) -> "regex.Pattern[str]":
    """Raises `Invalid` where it is no expression, or too large a one."""
    # Compiling has no deadline: counted repetitions inside each other are written out one by one.
    repetitions = prod(int(count) for count in re.findall(r"(\d+)\}", expression) if int(count) > 0)
    if len(expression) > LONGEST or repetitions > MOST_REPETITIONS:
        raise Invalid(f"The regular expression {expression[:100]!r} is too large; simplify it.")
    try:
        return regex.compile(expression)
    except regex.error as error:
        raise Invalid(f"{expression!r} is not a regular expression: {error}.") from error


def run(how: Matching, expression: str, name: str) -> "regex.Match[str] | None":
    """What the compiled `expression`'s method `how` finds in `name`. Raises `Invalid` where it takes too long."""
    try:
        return how(name, timeout=DEADLINE_S, concurrent=True)
    except TimeoutError as error:
        raise Invalid(f"The regular expression {expression!r} takes too long on {name!r}; simplify it.") from error
