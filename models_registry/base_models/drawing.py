"""How a token is drawn from its scores.

transformers' own processors sort the vocabulary, make new scores for each bound, and draw from a global generator that
all threads share. Here nearly all of it happens among the likeliest tokens.
"""

import math
from hashlib import sha256
from typing import Final

import torch
from torch import Tensor
from transformers import LogitsProcessor

from models_registry.base_models.generation import GenerationParameters

SMALLEST: Final = 1e-6
"""Of what scores are divided by: below it nothing changes but that numbers overflow."""
CANDIDATES: Final = 256
"""Nearly always the tokens that `top_p` and `min_p` keep are among so many."""
BELOW_ONE: Final = 1 - 2**-40
"""Rounded up, the largest number that is drawn would lie behind the last token."""


class Draw(LogitsProcessor):
    """Draws one text's token from the softmax of its scores [1, vocabulary], by temperature, `top_k`, `top_p` and
    `min_p` in this order, and by one number of the generator. The token is left as the only one that isn't forbidden;
    scores that have no softmax give NaN."""

    def __init__(self, parameters: GenerationParameters, generator: torch.Generator) -> None:
        self._temperature = max(parameters.temperature, SMALLEST)
        self._top_k = parameters.top_k
        self._top_p = parameters.top_p
        self._min_p = parameters.min_p
        self._generator = generator

    def __call__(self, input_ids: torch.LongTensor, scores: Tensor) -> Tensor:
        shares, tokens = self.kept(scores / self._temperature)
        sums = shares.cumsum(-1, dtype=torch.float64)
        chance = torch.rand(1, 1, generator=self._generator, dtype=torch.float64) * BELOW_ONE
        drawn = torch.searchsorted(sums, chance.to(sums.device) * sums[:, -1:], right=True)
        drawn.clamp_(max=shares.shape[1] - 1)
        if tokens is not None:
            drawn = tokens.gather(1, drawn)
        return torch.full_like(scores, -torch.inf).scatter_(1, drawn, sums[:, -1:].to(scores.dtype))

    def kept(self, scores: Tensor) -> tuple[Tensor, Tensor | None]:
        """Shares of what is drawn from [1, kept], which needn't add up to one, and of which tokens (None: of all)."""
        if not self._top_k and self._top_p == 1.0 and not self._min_p:
            return scores.softmax(-1), None
        size = scores.shape[1]
        kept = self._likeliest(scores, min(self._top_k or CANDIDATES, size))
        if kept is None:  # more tokens may be kept than were looked at
            kept = self._likeliest(scores, size)
            assert kept is not None
        return kept

    def _likeliest(self, scores: Tensor, count: int) -> tuple[Tensor, Tensor] | None:
        """None where any of the others may be kept too."""
        best, tokens = scores.topk(count)
        every = best if self._top_k else scores
        shares = (best - every.logsumexp(-1, keepdim=True)).exp()
        keeps = shares.cumsum(-1) - shares < self._top_p
        if self._min_p:
            keeps &= best >= best[:, :1] + math.log(self._min_p)
        if not self._top_k and count < scores.shape[1] and bool(keeps[:, -1].any()):
            return None
        return shares * keeps, tokens


def generator_for(seed: int | None, place: int) -> torch.Generator:
    """Neighbouring seeds and places have nothing in common: the row 1 of one seed isn't the row 0 of the next."""
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(int.from_bytes(sha256(f"{seed} {place}".encode()).digest()[:7]))
    return generator
