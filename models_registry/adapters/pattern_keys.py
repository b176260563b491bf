"""The keys of `rank_pattern` and `alpha_pattern`: each names the end of modules' names, or is an expression for it.

PEFT tries key after key on every module, as an expression. Here those without special characters, of which a checkpoint
may have thousands, are looked up; the first key in the config's order counts, as in PEFT.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Generic, TypeVar

from models_registry.adapters.expression_size import LONGEST
from models_registry.adapters.expressions import Expressions

Value = TypeVar("Value")

# A dot stands for any character here too, as in every expression, `\.` for itself; after `^` stands a whole name.
_PLAIN = re.compile(r"\^?(?:[A-Za-z0-9_.-]|\\\.)+")
_CHARACTER = re.compile(r"\\\.|[^^]")


class PatternKeys(Generic[Value]):
    """Raises `Invalid` as `Expressions` does, once it is asked for a name."""

    def __init__(self, pattern: Mapping[str, Value], expressions: Expressions) -> None:
        self._keys = tuple(pattern)
        self._values = tuple(pattern.values())
        self._plain: dict[tuple[int, bool], dict[tuple[int, ...], dict[str, int]]] = {}
        """By length and whether they are a whole name, and by where any character may stand: each key's place in the
        order."""
        self._others: list[int] = []
        self._expressions = expressions
        for place, key in enumerate(self._keys):
            if _PLAIN.fullmatch(key) and len(_expression(key)) <= LONGEST:
                spelled = _CHARACTER.findall(key)
                text, any_at = "".join(one[-1] for one in spelled), _places(".", spelled)
                self._plain.setdefault((len(text), key[0] == "^"), {}).setdefault(any_at, {})[text] = place
            else:
                self._others.append(place)

    def first(self, name: str, default: Value) -> Value:
        """The value of the first key that names or matches `name`."""
        if not self._keys:  # as in most configs, on every module of every adapter
            return default
        plain = min(self._named(name), default=len(self._keys))
        tried = (place for place in self._others if place < plain and self._matches(place, name))
        place = next(tried, plain)
        return self._values[place] if place < len(self._keys) else default

    def unmatched(self, names: Collection[str]) -> list[str]:
        """The keys that name or match none of `names`."""
        if not self._keys:
            return []
        found = {place for name in names for place in self._named(name)}
        found.update(place for place in self._others if any(self._matches(place, name) for name in names))
        return [key for place, key in enumerate(self._keys) if place not in found]

    def _named(self, name: str) -> Iterator[int]:
        """The places of the plain keys that match."""
        if "\n" in name:  # which a dot doesn't stand for, and `$` stands before: too rare for rules of its own
            plain = (place for shapes in self._plain.values() for keys in shapes.values() for place in keys.values())
            yield from (place for place in plain if self._matches(place, name))
            return
        ends = [(name, True), (name, False), *((name[dot + 1 :], False) for dot in _places(".", name))]
        for end, whole in ends:
            for any_at, keys in self._plain.get((len(end), whole), {}).items():
                place = keys.get(_with_dots(end, any_at))
                if place is not None:
                    yield place

    def _matches(self, place: int, name: str) -> bool:
        return self._expressions.match(_expression(self._keys[place]), name) is not None


def _expression(key: str) -> str:
    return rf"(.*\.)?({key})$"


def _places(wanted: str, characters: Iterable[str]) -> tuple[int, ...]:
    return tuple(at for at, character in enumerate(characters) if character == wanted)


def _with_dots(text: str, places: tuple[int, ...]) -> str:
    characters = list(text)
    for at in places:
        characters[at] = "."
    return "".join(characters)
