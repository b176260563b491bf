"""The most probable token of each text, and its text."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models_registry.base_models.generation import GenerationParameters

HALF = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True, slots=True)
class Drawn:
    """A token, with its log-probability and those that were the most probable where they were asked for."""

    id: int
    logprob: float | None = None
    alternatives: tuple[tuple[int, float], ...] = ()


class Sampler:
    """Of one text. `place` is the text's in its caller's request."""

    def __init__(
        self,
        parameters: GenerationParameters,
        prompt: Sequence[int],
        place: int,
        end_ids: Collection[int],
        device: torch.device,
    ) -> None:
        self.parameters = parameters

    def accept(self, id: int) -> None:
        """This token was drawn."""


def draw(samplers: Sequence[Sampler], logits: Tensor) -> list[Drawn]:
    """One token for each row of `logits` [rows, vocabulary]."""
    return [Drawn(int(id)) for id in logits.argmax(-1).tolist()]


class TextStream:
    """Of one text. `decode` reads tokens; special ones give nothing."""

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._ids: list[int] = []
        self._given = ""
        self.stopped = False

    def add(self, id: int) -> str:
        """What is decided now: without the beginning of a character whose other bytes may follow."""
        self._ids.append(id)
        text = self._decode(self._ids)
        return "" if text.endswith(HALF) else self._give(text)

    def end(self) -> str:
        """The rest."""
        return self._give(self._decode(self._ids))

    def _give(self, text: str) -> str:
        new, self._given = text[len(self._given) :], text
        return new
