"""Where a text ends because of what it says: the first string of those that are to stop it.

The first is the one that is complete first, read character by character, so that it doesn't depend on how the text was
cut into tokens or parts.
"""

from collections.abc import Iterable


class StopStrings:
    """Reads one text in parts. The text ends before one of `before` and behind one of `behind`."""

    def __init__(self, before: Iterable[str], behind: Iterable[str]) -> None:
        self._strings = [_Progress(string, True) for string in before] + [_Progress(s, False) for s in behind]
        self._held = ""
        self.found = False

    def read(self, text: str) -> str:
        """What surely belongs to the text now. What may be the beginning of a string that it ends before is held back;
        once one was found, nothing follows."""
        if self.found or not self._strings:
            return "" if self.found else text
        start = len(self._held)
        held = self._held + text
        for end, character in enumerate(text, start + 1):
            complete = [progress for progress in self._strings if progress.advance(character)]
            if complete:
                self.found, self._held = True, ""
                return held[: min(end - progress.cut for progress in complete)]
        keep = max((progress.matched for progress in self._strings if progress.cut), default=0)
        self._held = held[len(held) - keep :]
        return held[: len(held) - keep]

    def end(self) -> str:
        """What was held back: nothing follows that could complete a string."""
        held, self._held = self._held, ""
        return held


class _Progress:
    """How much of one string the text ends with, by the table of Knuth, Morris and Pratt."""

    __slots__ = ("_back", "_string", "cut", "matched")

    def __init__(self, string: str, cuts: bool) -> None:
        self._string = string
        self._back = _backward(string)
        self.cut = len(string) if cuts else 0
        self.matched = 0

    def advance(self, character: str) -> bool:
        """Whether the string is complete by it."""
        matched = self.matched
        while matched and self._string[matched] != character:
            matched = self._back[matched - 1]
        self.matched = matched + (self._string[matched] == character)
        return self.matched == len(self._string)


def _backward(string: str) -> list[int]:
    """For each place, how long the longest proper prefix of the string is that also ends there."""
    back = [0]
    for character in string[1:]:
        length = back[-1]
        while length and string[length] != character:
            length = back[length - 1]
        back.append(length + (string[length] == character))
    return back
