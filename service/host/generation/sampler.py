"""The next token of each text."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import torch
from torch import Tensor

from models_registry.base_models.generation import GenerationParameters
from models_registry.base_models.processors import processors_of
from models_registry.errors import Invalid
from models_registry.records import Fault
from service.host.generation.grammar import LOC, Grammar

BROKEN: Final = (
    "The model's scores for the next token are no numbers (NaN or infinity). An adapter with very large weights does "
    "that, and half precision does it sooner; look at the adapter, or host the model in float32."
)


@dataclass(frozen=True, slots=True)
class Drawn:
    """A token; where they were asked for, with its log-probability and with those of the most probable tokens, most
    probable first. They are the model's own: the log-softmax of its logits, before anything acts on them."""

    id: int
    logprob: float | None = None
    alternatives: tuple[tuple[int, float], ...] = ()


Draw: TypeAlias = "Drawn | Invalid"
"""A token, or why the text can't go on."""


class Sampler:
    """Of one text. What it draws follows from its parameters, its prompt, its `place` in its caller's request and its
    logits alone, whatever texts are beside it."""

    def __init__(
        self,
        parameters: GenerationParameters,
        prompt: Sequence[int],
        place: int,
        end_ids: Collection[int],
        device: torch.device,
        grammar: Grammar | None = None,
    ) -> None:
        """`end_ids` are the model's own."""
        self._ends = parameters.ends(end_ids)
        self._processors = processors_of(parameters, len(prompt), self._ends, place, device)
        self._tokens = _Tokens(prompt, device) if self._processors.read_tokens else None
        self._grammar = grammar
        self.alternatives: Final = parameters.top_logprobs if parameters.logprobs else None
        """How many the caller wants beside each token's logprob; None: no logprobs."""

    @property
    def is_greedy(self) -> bool:
        """Whether its token is that of the largest logit."""
        return self._grammar is None and self._processors.are_none

    @property
    def is_complete(self) -> bool:
        """Whether the form that the text is held to allows nothing more."""
        return self._grammar is not None and self._grammar.is_complete

    def ends(self, id: int) -> bool:
        """Whether the token ends the text. It is no part of it."""
        return id in self._ends

    def accept(self, id: int) -> None:
        """This token was drawn."""
        if self._tokens is not None:
            self._tokens.append(id)
        if self._grammar is not None:
            self._grammar.accept(id)

    def score(self, logits: Tensor) -> Tensor:
        """Of float32 `logits` [1, vocabulary], scores whose largest is the next token. Raises `Invalid` where the form
        that the text is held to can't be followed any further."""
        allowed = logits
        if self._grammar is not None:
            mask = self._grammar.allowed(logits.shape[1]).to(logits.device)
            allowed = logits.masked_fill(~mask, -torch.inf)
            if not allowed.amax().isfinite():
                message = "The text can't follow its constraint any further: the model has none of the tokens for it."
                raise Invalid(message, [Fault(LOC, message)])
        scores = self._processors(logits.new_empty(1, 0) if self._tokens is None else self._tokens.all, allowed)
        # Where nothing is left that is neither forbidden nor repeated, it may be repeated, and it may end.
        return scores if bool(scores.amax().isfinite()) else allowed


class _Tokens:
    """A text's tokens, on the device."""

    def __init__(self, prompt: Sequence[int], device: torch.device) -> None:
        self._count = len(prompt)
        self._room = torch.empty(1, max(2 * self._count, 64), dtype=torch.long, device=device)
        self._room[0, : self._count] = torch.tensor(prompt, device=device)

    @property
    def all(self) -> Tensor:
        """[1, tokens]"""
        return self._room[:, : self._count]

    def append(self, id: int) -> None:
        if self._count == self._room.shape[1]:
            self._room = torch.cat([self._room, torch.empty_like(self._room)], 1)
        self._room[0, self._count] = id
        self._count += 1


def draw(samplers: Sequence[Sampler], logits: Tensor) -> list[Draw]:
    """One token for each row of float32 `logits` [rows, vocabulary], or an `Invalid` for the row alone whose logits are
    no numbers or whose form can't be followed. Those of plain greedy rows are found for all of them at once."""
    usable: list[bool] = logits.amax(-1).isfinite().tolist()
    best: list[int] = (
        logits.argmax(-1).tolist() if any(sampler.is_greedy for sampler in samplers) else [0] * len(usable)
    )
    drawn: list[int | Invalid] = []
    for row, sampler in enumerate(samplers):
        if not usable[row]:
            drawn.append(Invalid(BROKEN))
        else:
            drawn.append(best[row] if sampler.is_greedy else _draw_one(sampler, logits[row : row + 1]))
    return _with_logprobs(samplers, logits, drawn)


def _draw_one(sampler: Sampler, logits: Tensor) -> int | Invalid:
    try:
        return int(sampler.score(logits).argmax())
    except Invalid as error:
        return error


def _with_logprobs(samplers: Sequence[Sampler], logits: Tensor, drawn: Sequence[int | Invalid]) -> list[Draw]:
    found: list[Draw] = [token if isinstance(token, Invalid) else Drawn(token) for token in drawn]
    wanted = {row: (token, samplers[row].alternatives) for row, token in enumerate(drawn) if isinstance(token, int)}
    asked = {row: (token, count) for row, (token, count) in wanted.items() if count is not None}
    if not asked:
        return found
    logprobs = logits[torch.tensor(list(asked), device=logits.device)].log_softmax(-1)
    ids = torch.tensor([[token] for token, _ in asked.values()], device=logits.device)
    most = logprobs.topk(min(max(count for _, count in asked.values()), logits.shape[1]))
    columns = (logprobs.gather(1, ids)[:, 0].tolist(), most.indices.tolist(), most.values.tolist())
    for (row, (token, count)), own, others, values in zip(asked.items(), *columns, strict=True):
        found[row] = Drawn(token, own, tuple(zip(others[:count], values[:count], strict=True)))
    return found
