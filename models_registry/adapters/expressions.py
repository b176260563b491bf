r"""The regular expressions of one config: measured before they are compiled, compiled once, run within one time.

Callers write them, and the standard `re`, whose language PEFT's configs are written in, holds the whole process on
a hostile one. So `re` says whether it is an expression, and `regex` runs it: without the interpreter's lock, and with a
time limit. What both read differently is refused, such as `{` that counts nothing, which `regex` takes for fuzzy
matching.
"""

import re
from collections.abc import Callable
from time import thread_time
from typing import Final, TypeAlias

import regex

from models_registry.adapters.expression_size import require_bounded
from models_registry.errors import Invalid

CREATING_S: Final = 1.0
LOADING_S: Final = 10.0
"""Seconds of the processor for all of a config's expressions on all modules. A stored config gets more, so that what
was accepted once is never refused by a slower machine."""

MOST: Final = 256
"""Expressions of a new config: compiling each takes about a millisecond of Python, in which others wait."""

Found: TypeAlias = "regex.Match[str] | None"


class Expressions:
    """Raises `Invalid` from each method where the text is no expression, is too large, or where all of them together
    are more than `most` or take longer than `limit_s`. Results are kept, so that asking again costs nothing."""

    def __init__(self, limit_s: float = CREATING_S, most: int | None = MOST) -> None:
        self._left_s = limit_s
        self._most = most
        self._compiled: dict[str, regex.Pattern[str]] = {}
        self._full: dict[tuple[str, str], bool] = {}
        self._begun: dict[tuple[str, str], Found] = {}

    def matches_whole(self, expression: str, name: str) -> bool:
        """As `re.fullmatch`."""
        key = expression, name
        if key not in self._full:
            self._full[key] = self._run(self._pattern(expression).fullmatch, expression, name) is not None
        return self._full[key]

    def match(self, expression: str, name: str) -> Found:
        """As `re.match`."""
        key = expression, name
        if key not in self._begun:
            self._begun[key] = self._run(self._pattern(expression).match, expression, name)
        return self._begun[key]

    def _pattern(self, expression: str) -> "regex.Pattern[str]":
        pattern = self._compiled.get(expression)
        if pattern is None:
            if len(self._compiled) == self._most:
                raise Invalid(
                    f"The config has more than {self._most} regular expressions, at last {_shown(expression)}; join "
                    "some of them, or write names, of which there may be any number."
                )
            begun = thread_time()
            pattern = self._compiled[expression] = _compile(expression)
            self._spend(thread_time() - begun, expression)
        return pattern

    def _run(self, how: Callable[..., Found], expression: str, name: str) -> Found:
        self._spend(0.0, expression)
        begun = thread_time()
        try:
            found = how(name, timeout=self._left_s, concurrent=True)
        except (TimeoutError, MemoryError):
            self._left_s = 0.0
            raise _too_slow(expression) from None
        self._spend(thread_time() - begun, expression)
        return found

    def _spend(self, seconds: float, expression: str) -> None:
        self._left_s -= seconds
        if self._left_s <= 0:
            raise _too_slow(expression)


def _compile(expression: str) -> "regex.Pattern[str]":
    require_bounded(expression)
    try:
        re.compile(expression)
        # Not into its cache, which would keep hundreds of the largest ones that callers think of.
        return regex.compile(expression, cache_pattern=False)
    except (re.error, regex.error, OverflowError, RecursionError) as error:
        raise Invalid(f"{_shown(expression)} is not a regular expression: {error}.") from error


def _too_slow(expression: str) -> Invalid:
    return Invalid(
        f"The config's regular expressions take too long on the base model's module names, at last "
        f"{_shown(expression)}; simplify them, or list the modules' names."
    )


def _shown(expression: str) -> str:
    return repr(expression if len(expression) <= 100 else f"{expression[:100]}…")
