"""How large a regular expression becomes when it is compiled, read off its text in one pass.

Compiling has no time limit, and writes counted repetitions out: `(?:(?:.{500,}){500,}){500,}` takes gigabytes. So the
text is measured first, in time proportional to its length.
"""

import re
from typing import Final

from models_registry.errors import Invalid

LONGEST: Final = 10_000
"""In characters."""
DEEPEST: Final = 50
"""Groups inside each other; the compilers recurse into each."""
LARGEST: Final = 20_000
"""Parts, each as often as its repetitions write it out."""

_COUNTED = re.compile(r"\{(\d{1,9})?(,(\d{1,9})?)?\}")
_FLAGS = re.compile(r"\(\?[A-Za-z-]{0,20}")
_SETS_OF_SETS = ("[", "--", "&&", "~~", "||")


def require_bounded(expression: str) -> None:
    """Raises `Invalid` where it is longer, deeper or larger than the limits, or can be read in two ways."""
    if len(expression) > LONGEST:
        raise Invalid(
            f"A regular expression has {len(expression)} characters, more than {LONGEST}: {expression[:100]!r}…; "
            "simplify it, or list the modules' names."
        )
    _Reader(expression).read()


class _Reader:
    """Reads one expression from left to right. A sequence's size is that of all its parts; `part` is the last part's,
    which a repetition multiplies."""

    def __init__(self, expression: str) -> None:
        self._text = expression
        self._at = 0
        self._sequences = [0]
        self._part = 0

    def read(self) -> None:
        while self._at < len(self._text):
            self._at += self._read_next(self._text[self._at])
            if self._sequences[-1] > LARGEST:
                raise self._invalid(f"repeats itself to more than {LARGEST} parts; simplify it")

    def _read_next(self, character: str) -> int:
        """How many characters it takes."""
        match character:
            case "\\":
                return self._add(1, 2)
            case "[":
                length = self._set_length()
                return self._add(length, length)
            case "(":
                return self._open()
            case ")":
                return self._close()
            case "{":
                return self._repeat()
            case _:  # a `+` is compiled as once and then any number more, so that each around another doubles it
                return self._add(self._part if character == "+" else 1, 1)

    def _add(self, size: int, length: int) -> int:
        self._part = size
        self._sequences[-1] += size
        return length

    def _open(self) -> int:
        begun = _FLAGS.match(self._text, self._at)
        if begun and "x" in begun[0]:
            raise self._invalid("uses the verbose flag `x`, which is not served; write it without spaces and comments")
        if self._text.startswith("(?#", self._at):
            raise self._invalid("has a comment, which is not served; leave it out")
        if len(self._sequences) > DEEPEST:
            raise self._invalid(f"has more than {DEEPEST} groups inside each other; simplify it")
        self._sequences.append(0)
        return 2 if begun else 1

    def _close(self) -> int:
        if len(self._sequences) == 1:
            raise self._invalid("has a `)` without its `(`")
        return self._add(self._sequences.pop() + 1, 1)

    def _repeat(self) -> int:
        counted = _COUNTED.match(self._text, self._at)
        if counted is None or counted[0] in ("{}", "{,}"):
            raise self._invalid("has a `{` that is no repetition; write `\\{` for the character itself")
        times = max(1, *(int(count) for count in counted.group(1, 3) if count))
        self._add(self._part * times, 0)
        return len(counted[0])

    def _set_length(self) -> int:
        """Of `[…]`, in which a first `]` stands for itself."""
        end = self._at + (2 if self._text.startswith("[^", self._at) else 1)
        if self._text.startswith("]", end):
            end += 1
        begun = end
        while end < len(self._text) and self._text[end] != "]":
            end += 2 if self._text[end] == "\\" else 1
        if end >= len(self._text):
            raise self._invalid("has a `[` without its `]`")
        inside = self._text[begun:end]
        if found := [mark for mark in _SETS_OF_SETS if mark in inside.replace("\\\\", "").replace("\\[", "")]:
            raise self._invalid(f"has `{found[0]}` inside `[…]`, which can be read in two ways; escape it")
        return end + 1 - self._at

    def _invalid(self, reason: str) -> Invalid:
        shown = self._text if len(self._text) <= 100 else f"{self._text[:100]}…"
        return Invalid(f"The regular expression {shown!r} {reason}.")
