"""What it takes to write a text token by token: its prompt as tokens, and what belongs to the model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class Prompt:
    """A text to continue, as tokens. At most `room` tokens may follow."""

    ids: tuple[int, ...]
    room: int

    @property
    def length(self) -> int:
        """Positions that it and its continuation take at most."""
        return len(self.ids) + self.room


@dataclass(frozen=True, slots=True)
class Writer:
    """A causal language model, the tokens that end its texts, and how tokens are read (special ones are not)."""

    model: PreTrainedModel
    end_ids: frozenset[int]
    decode: Callable[[Sequence[int]], str]
