"""Texts as OpenAI's API takes them: one or several, each as a string or as the model's own token ids."""

from dataclasses import dataclass
from typing import Final, Self

from models_registry.errors import Invalid
from models_registry.inputs.values import Inputs
from models_registry.records import Fault

MOST_TOKENS: Final = 2**31


@dataclass(frozen=True, slots=True)
class GivenTexts:
    """`texts` or `tokens`, one a row; `is_list` says that they came as a list, so that a row has a place in it."""

    texts: tuple[str, ...]
    tokens: tuple[tuple[int, ...], ...]
    is_list: bool

    @classmethod
    def of(cls, given: str | list[str] | list[int] | list[list[int]]) -> Self:
        if isinstance(given, str):
            return cls((given,), (), is_list=False)
        if ids := tuple(entry for entry in given if isinstance(entry, int)):
            return cls((), (ids,), is_list=False)
        texts = tuple(entry for entry in given if isinstance(entry, str))
        return cls(texts, tuple(tuple(entry) for entry in given if isinstance(entry, list)), is_list=True)

    def inputs(self, field: str, purpose: str, repeats: int = 1) -> Inputs:
        """`repeats` rows for each. Raises `Invalid` naming `field` where nothing is left for the `purpose`, or where
        ids are none."""
        if not self.texts and not all(self.tokens or [()]):
            message = "must be a text, or a list of texts, each as a string or as token ids, at least one"
            raise Invalid(f"There is no text to {purpose}.", [Fault((field,), message)])
        if any(not 0 <= id < MOST_TOKENS for row in self.tokens for id in row):
            message = f"has a token id that no model has: they are from 0 to {MOST_TOKENS - 1}"
            raise Invalid("These are no token ids.", [Fault((field,), message)])
        return Inputs(
            texts=tuple(text for text in self.texts for _ in range(repeats)),
            tokens=tuple(row for row in self.tokens for _ in range(repeats)),
        )
