"""Tokens to the text that is decided: what later tokens can't change any more."""

from typing import Final

from models_registry.base_models.detokenizer import Detokenizer
from models_registry.base_models.stop_strings import StopStrings

HALF: Final = "\N{REPLACEMENT CHARACTER}"
WINDOW: Final = 16
"""Tokens. Those before are not decoded again, once these alone give the same end of the text."""
CLEANED: Final = 8
"""Characters. Cleaning up takes a space away by at most so many behind it."""


class TextStream:
    """Of one text. Its parts and its end make up what all its tokens give, decoded at once, up to where a string stops
    it."""

    def __init__(self, detokenizer: Detokenizer, stops: StopStrings) -> None:
        self._detokenizer = detokenizer
        self._stops = stops
        self._ids: list[int] = []
        self._sent = 0
        """Of the characters that `_ids` give, so many are decided."""

    @property
    def stopped(self) -> bool:
        """Whether a string ended it; nothing follows then."""
        return self._stops.found

    def add(self, id: int) -> str:
        """What is decided now: without half a character, and without what may begin a string that the text is to end
        before."""
        if id in self._detokenizer.silent_ids:
            return ""
        self._ids.append(id)
        text = self._detokenizer.decode(self._ids)
        decided = max(self._decided(text), self._sent)
        new = text[self._sent : decided]
        self._sent = decided
        if len(self._ids) % WINDOW == 0:
            self._forget(text)
        return self._stops.read(new)

    def end(self) -> str:
        """The rest."""
        rest = self._detokenizer.decode(self._ids)[self._sent :] if self._ids else ""
        self._ids, self._sent = [], 0
        return self._stops.read(rest) + self._stops.end()

    def _decided(self, text: str) -> int:
        """How many of the characters stay as they are."""
        decided = len(text) - text.endswith(HALF)
        run = self._byte_run()
        if run:  # any further byte may make all of it unreadable
            decided = min(decided, len(self._detokenizer.decode(self._ids[:-run])) if run < len(self._ids) else 0)
        if self._detokenizer.cleans_up:
            space = text.find(" ", max(0, len(text) - CLEANED))
            decided = decided if space < 0 else min(decided, space)
        return decided

    def _byte_run(self) -> int:
        """How many tokens at the end stand for single bytes."""
        bytes_ = self._detokenizer.byte_ids
        return next((count for count, id in enumerate(reversed(self._ids)) if id not in bytes_), len(self._ids))

    def _forget(self, text: str) -> None:
        """Tokens that only give what is decided, unless those behind them are read in another way without them."""
        last = self._ids[-WINDOW:]
        end = self._detokenizer.decode(last)
        before = len(text) - len(end)
        if end and text.endswith(end) and before <= self._sent:
            self._ids = last
            self._sent -= before
