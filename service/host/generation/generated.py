"""Texts of one `generate`: their tokens as they are drawn, and which of them are over."""

import time
from collections.abc import Callable, Sequence

from torch import Tensor

from models_registry.errors import DeadlinePassed, Invalid
from service.host.generation.answer import TextAnswer
from service.host.generation.sampler import draw
from service.host.generation.sequence import TextSequence
from service.host.scheduling.outcome import fail


class Generated:
    """A `TokenDrawer` of these texts, all at their beginnings. `take_turns` is called after each token, while nothing
    is being computed."""

    def __init__(self, sequences: Sequence[TextSequence], take_turns: Callable[[], None]) -> None:
        self._sequences = sequences
        self._take_turns = take_turns
        self._begun = time.monotonic()

    def draw(self, logits: Tensor) -> list[int]:
        """Raises `Invalid` where a text can't go on."""
        running = [row for row, one in enumerate(self._sequences) if not one.is_over and not one.answer.is_left]
        if not running:
            return [0] * len(self._sequences)
        samplers = [self._sequences[row].sampler for row in running]
        drawn = draw(samplers, logits[running])
        share = (time.monotonic() - self._begun) / len(running)
        tokens = [0] * len(self._sequences)
        for row, token in zip(running, drawn, strict=True):
            if isinstance(token, Invalid):
                raise token
            tokens[row] = token.id
            sequence = self._sequences[row]
            sequence.forward_s += share
            text, details = sequence.take(token)
            sequence.answer.write(sequence.row, text, details, sequence.written if sequence.is_over else None)
        return tokens

    def over(self) -> list[bool]:
        """Texts that have ended, that nobody waits for any more, and those that are late."""
        self._take_turns()
        self._begun = time.monotonic()
        for answer in {sequence.answer: None for sequence in self._sequences}:
            _end_if_late(answer)
        return [sequence.is_over or sequence.answer.is_left for sequence in self._sequences]

    def end(self) -> None:
        """Those that still run had no room for more."""
        for sequence in self._sequences:
            if not sequence.is_over and not sequence.answer.is_left:
                rest = sequence.cut_off()
                sequence.answer.write(sequence.row, rest, (), sequence.written)


def _end_if_late(answer: TextAnswer) -> None:
    if answer.is_late and not answer.job.future.done():
        fail(answer.job.future, DeadlinePassed("The request's deadline passed while its text was written."))
