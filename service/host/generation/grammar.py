"""A text that is held to a form: which tokens may follow. `grammar_compiler.py` makes them."""

from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import Tensor

from models_registry.errors import Invalid
from models_registry.records import Fault

if TYPE_CHECKING:
    from llguidance import LLMatcher

LOC: Final = ("parameters", "constraint")
LONGEST_REASON: Final = 300


class Grammar:
    """Of one text: what it has of the form so far."""

    def __init__(self, matcher: "LLMatcher") -> None:
        self._matcher = matcher

    @property
    def is_complete(self) -> bool:
        """Whether the form allows nothing more."""
        return self._matcher.is_stopped() and not self._matcher.is_error()

    def fresh(self) -> "Grammar":
        """The same form, for another text from its beginning."""
        matcher = self._matcher.deep_copy()
        matcher.reset()
        return Grammar(matcher)

    def allowed(self, vocabulary: int) -> Tensor:
        """Which tokens may follow, bool [vocabulary]. Raises `Invalid` where finding them takes too much."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        self._check()
        mask = np.zeros(vocabulary, dtype=np.uint8)
        known = np.unpackbits(bits, count=min(vocabulary, bits.size * 8), bitorder="little")
        mask[: known.size] = known
        return torch.from_numpy(mask).bool()

    def accept(self, id: int) -> None:
        """The text continues with this token. Where the form doesn't allow it, `allowed` raises from now on."""
        self._matcher.consume_token(id)

    def _check(self) -> None:
        if self._matcher.is_error():
            message = f"The text can't follow its constraint any further: {short_reason(self._matcher.get_error())}"
            raise Invalid(message, [Fault(LOC, message)])


def short_reason(error: str) -> str:
    """Without what llguidance appends for its own developers."""
    reason = " ".join(error.partition("\n<")[0].split())
    return reason if len(reason) <= LONGEST_REASON else f"{reason[:LONGEST_REASON]}…"
