"""What a host says of the texts that it writes: pieces while it writes, and how each ended."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

FinishReason: TypeAlias = Literal["stop", "length"]
"""`stop`: the model, or a string that was to stop it, ended the text. `length`: there was room for no more tokens."""


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """`text` is what the token adds to a text; of half a character it is a replacement character."""

    id: int
    text: str
    logprob: float


@dataclass(frozen=True, slots=True)
class DrawnToken:
    """A token of a text, with those that were the most probable in its place."""

    id: int
    text: str
    logprob: float
    alternatives: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class WrittenText:
    """How one text ended. `cached_tokens` of its `prompt_tokens` were in memory already; `tokens` were generated.
    `logprobs` has each of these, where they were asked for."""

    finish_reason: FinishReason
    prompt_tokens: int
    tokens: int
    cached_tokens: int = 0
    logprobs: tuple[DrawnToken, ...] = ()


@dataclass(frozen=True, slots=True)
class TextPart:
    """What was written of the text `row` since its last part. `tokens` only where logprobs were asked for; `end` only
    with its last part, without their logprobs."""

    row: int
    text: str
    tokens: tuple[DrawnToken, ...] = ()
    end: WrittenText | None = None


OnPart: TypeAlias = Callable[[TextPart], None]
"""Hears the parts of a request's texts, those of one row in their order, on any thread, before the answer is there. It
returns at once."""
