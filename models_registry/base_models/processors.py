"""How the scores of one text's next token are made of the model's logits: by transformers' processors and some of ours.

In transformers' order, which is vLLM's but for `min_p`, which is last here: repetition, presence and frequency
penalties, n-grams, biases, tokens that may not end the text yet; then, where it is sampled, the draw (`drawing.py`):
temperature, `top_k`, `top_p`, `min_p`.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import torch
from torch import Tensor
from transformers import (
    LogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
)

from models_registry.base_models.drawing import SMALLEST, Draw, generator_for
from models_registry.base_models.generation import GenerationParameters


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
        processors.append(Draw(parameters, generator_for(parameters.seed, place)))
    return Processors(processors)


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
