"""How the scores of one text's next token are made of the model's logits: by transformers' processors and some of ours.

In transformers' order, which is vLLM's but for `min_p`, which is last here: repetition, presence and frequency
penalties, n-grams, biases, tokens that may not end the text yet; then, where it is sampled, temperature, `top_k`,
`top_p`, `min_p` and the draw.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Final

import torch
from torch import Tensor
from transformers import (
    LogitsProcessor,
    MinPLogitsWarper,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
)

from models_registry.base_models.generation import GenerationParameters

SMALLEST: Final = 1e-6
"""Of what scores are divided by: below it nothing changes but that numbers overflow."""
CANDIDATES: Final = 1024
"""Nearly always the tokens that `top_p` keeps are among so many."""
BELOW_ONE: Final = 1 - 2**-40
"""Rounded up, the largest number that is drawn would lie behind the last token."""


class Processors:
    """Of one text. Without any, it is plain greedy."""

    def __init__(self, processors: Sequence[LogitsProcessor]) -> None:
        self._processors = processors

    @property
    def are_none(self) -> bool:
        return not self._processors

    @property
    def read_tokens(self) -> bool:
        """Whether the scores depend on the tokens before."""
        return any(isinstance(processor, READING_TOKENS) for processor in self._processors)

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        """Of the text's tokens [1, tokens] and float32 scores [1, vocabulary], the scores whose largest is the next
        token."""
        for process in self._processors:
            scores = process(ids, scores)  # pyright: ignore[reportArgumentType] - torch has one Tensor
        return scores


def processors_of(
    parameters: GenerationParameters, prompt: int, ends: Collection[int], place: int, device: torch.device
) -> Processors:
    """For a text whose prompt has `prompt` tokens and which one of `ends` ends. What is drawn follows from the seed and
    from `place`, the text's in its caller's request."""
    processors: list[LogitsProcessor] = []
    if parameters.repetition_penalty != 1.0:
        processors.append(RepetitionPenaltyLogitsProcessor(max(parameters.repetition_penalty, SMALLEST)))
    if parameters.presence_penalty or parameters.frequency_penalty:
        processors.append(WrittenPenalties(parameters.presence_penalty, parameters.frequency_penalty, prompt))
    if parameters.no_repeat_ngram_size:
        processors.append(NoRepeatNGramLogitsProcessor(parameters.no_repeat_ngram_size))
    if parameters.logit_bias:
        processors.append(TokenBias(parameters.logit_bias, device))
    if parameters.min_new_tokens and ends:
        processors.append(NoEndYet(prompt + parameters.min_new_tokens, ends, device))
    if parameters.do_sample:
        processors += [*_warpers(parameters), Draw(_generator(parameters.seed, place))]
    return Processors(processors)


def _warpers(parameters: GenerationParameters) -> Iterator[LogitsProcessor]:
    if parameters.temperature != 1.0:
        yield TemperatureLogitsWarper(max(parameters.temperature, SMALLEST))
    if parameters.top_k:
        yield TopKLogitsWarper(parameters.top_k)
    if parameters.top_p < 1.0:
        yield TopP(parameters.top_p)
    if parameters.min_p:
        yield MinPLogitsWarper(parameters.min_p)


class WrittenPenalties(LogitsProcessor):
    """Takes `presence` off the score of each token that was written behind the first `prompt` ones, and `frequency` for
    each time that it was, as OpenAI defines them."""

    def __init__(self, presence: float, frequency: float, prompt: int) -> None:
        self._presence = presence
        self._frequency = frequency
        self._prompt = prompt

    def __call__(self, input_ids: torch.LongTensor, scores: Tensor) -> Tensor:
        written = input_ids[:, self._prompt :]
        counts = torch.zeros_like(scores).scatter_add_(1, written, torch.ones_like(written, dtype=scores.dtype))
        return scores - self._frequency * counts - self._presence * (counts > 0)


class TokenBias(LogitsProcessor):
    """Adds to the scores of some tokens. transformers' own makes a tensor of the whole vocabulary."""

    def __init__(self, biases: Mapping[int, float], device: torch.device) -> None:
        self._ids = torch.tensor(list(biases), device=device)
        self._biases = torch.tensor(list(biases.values()), device=device)

    def __call__(self, input_ids: torch.LongTensor, scores: Tensor) -> Tensor:
        return scores.index_add(1, self._ids, self._biases[None].expand(len(scores), -1))


class NoEndYet(LogitsProcessor):
    """Forbids the tokens that end a text until it has `length` tokens, its prompt's included."""

    def __init__(self, length: int, ends: Collection[int], device: torch.device) -> None:
        self._length = length
        self._ends = torch.tensor(sorted(ends), device=device)

    def __call__(self, input_ids: torch.LongTensor, scores: Tensor) -> Tensor:
        if input_ids.shape[1] >= self._length:
            return scores
        # Some generation configs name tokens that the model has no score for.
        return scores.index_fill(1, self._ends[self._ends < scores.shape[1]], -torch.inf)


READING_TOKENS: Final = (
    RepetitionPenaltyLogitsProcessor,
    WrittenPenalties,
    NoRepeatNGramLogitsProcessor,
    NoEndYet,
)


class TopP(LogitsProcessor):
    """Keeps the likeliest tokens whose probabilities add up to `top_p`, and those as likely as the last of them.

    transformers' own sorts the whole vocabulary, which takes longer than all other processors together.
    """

    def __init__(self, top_p: float) -> None:
        self._top_p = top_p

    def __call__(self, input_ids: torch.LongTensor, scores: Tensor) -> Tensor:
        probabilities = scores.softmax(-1)
        least = self._least(probabilities.topk(min(CANDIDATES, probabilities.shape[1])).values)
        if least is None:
            least = self._least(probabilities.sort(descending=True).values)
        return scores if least is None else scores.masked_fill(probabilities < least, -torch.inf)

    def _least(self, largest: Tensor) -> Tensor | None:
        """The smallest probability [rows, 1] that is kept, of descending ones; None where all of them are."""
        kept = largest.cumsum(-1) - largest < self._top_p
        return None if kept[:, -1].any() else largest.where(kept, torch.inf).amin(-1, keepdim=True)


class Draw(LogitsProcessor):
    """Draws each row's token from the softmax of its scores, by one number of the generator; the token is left as the
    only one that isn't forbidden. Scores that have no softmax give NaN.

    transformers draws from torch's global generator, which all threads share; seeding it would change what they draw.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator

    def __call__(self, input_ids: torch.LongTensor, scores: Tensor) -> Tensor:
        chances = torch.rand(len(scores), 1, generator=self._generator, dtype=torch.float64) * BELOW_ONE
        shares = scores.softmax(-1).cumsum(-1, dtype=torch.float64)
        total = shares[:, -1:]
        drawn = torch.searchsorted(shares, chances.to(scores.device) * total, right=True)
        drawn.clamp_(max=scores.shape[1] - 1)
        return torch.full_like(scores, -torch.inf).scatter_(1, drawn, total.to(scores.dtype))


def _generator(seed: int | None, place: int) -> torch.Generator:
    """Neighbouring seeds and places have nothing in common: the row 1 of one seed isn't the row 0 of the next."""
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(int.from_bytes(sha256(f"{seed} {place}".encode()).digest()[:7]))
    return generator
