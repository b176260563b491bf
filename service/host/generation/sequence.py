"""One text that is being written: its tokens so far, how the next is drawn, what of it is decided."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from models_registry.base_models.writing import Prompt
from service.host.generation.answer import TextAnswer
from service.host.generation.prefixes import CompositionKey
from service.host.generation.sampler import Drawn, Sampler
from service.host.generation.text_stream import TextStream
from service.protocol.texts import DrawnToken, FinishReason, TokenLogprob, WrittenText
from service.protocol.types import Selection


@dataclass(slots=True, eq=False)
class TextSequence:
    """Row `row` of a job, whose `answer` it is a part of.

    `computed` positions of its slot hold keys and values; of these, `cached` were copied from another text. One that
    has lost its slot keeps the tokens that were `drawn`, and computes them again. `forward_s` is its share of the
    forwards that it was in."""

    answer: TextAnswer
    row: int
    prompt: Prompt
    selection: Selection
    sampler: Sampler
    stream: TextStream
    piece: Callable[[int], str]
    drawn: list[int] = field(default_factory=list[int])
    logprobs: list[DrawnToken] = field(default_factory=list[DrawnToken])
    computed: int = 0
    cached: int = 0
    forward_s: float = 0.0
    finish_reason: FinishReason | None = None

    @property
    def composition(self) -> Mapping[str, float]:
        return self.selection.composition

    @property
    def composition_key(self) -> CompositionKey:
        return tuple((part.key, part.version.digest, part.weight) for part in self.selection.parts)

    @property
    def prompt_length(self) -> int:
        return len(self.prompt.ids)

    @property
    def read_tokens(self) -> int:
        """How many of the prompt were computed."""
        return self.prompt_length if self.drawn else min(self.computed, self.prompt_length)

    @property
    def known_length(self) -> int:
        return self.prompt_length + len(self.drawn)

    @property
    def most_positions(self) -> int:
        return self.prompt.length

    @property
    def team(self) -> str:
        return self.answer.job.team

    @property
    def alone(self) -> bool:
        return self.answer.job.request.alone

    @property
    def next_id(self) -> int:
        """The token whose position is computed next, once the prompt is."""
        return self.drawn[self.computed - self.prompt_length]

    @property
    def needs_token(self) -> bool:
        """Whether all its tokens are computed, so that another is to be drawn."""
        return self.computed == self.known_length

    @property
    def is_over(self) -> bool:
        return self.finish_reason is not None

    def take(self, drawn: Drawn) -> tuple[str, tuple[DrawnToken, ...]]:
        """The next token. Returns the text that is decided by it, and the token where its logprob was asked for."""
        self.drawn.append(drawn.id)
        self.sampler.accept(drawn.id)
        tokens = self._with_logprob(drawn)
        if self.sampler.ends(drawn.id):
            self.finish_reason = "stop"
            return self.stream.end(), tokens
        text = self.stream.add(drawn.id)
        if self.stream.stopped or self.sampler.is_complete:
            self.finish_reason = "stop"
        elif len(self.drawn) == self.prompt.room:
            self.finish_reason = "length"
        return (text if self.finish_reason is None else text + self.stream.end()), tokens

    def cut_off(self) -> str:
        """There is no room for more. Returns the rest of the text."""
        self.finish_reason = "length"
        return self.stream.end()

    @property
    def written(self) -> WrittenText:
        return WrittenText(
            self.finish_reason or "length",
            self.prompt_length,
            len(self.drawn),
            self.cached,
            tuple(self.logprobs),
        )

    def _with_logprob(self, drawn: Drawn) -> tuple[DrawnToken, ...]:
        if drawn.logprob is None:
            return ()
        others = tuple(TokenLogprob(id, self.piece(id), logprob) for id, logprob in drawn.alternatives)
        token = DrawnToken(drawn.id, self.piece(drawn.id), drawn.logprob, others)
        self.logprobs.append(token)
        return (token,)
