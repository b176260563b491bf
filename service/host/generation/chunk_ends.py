"""Logits behind the last token of each chunk: the model's head, as large as the vocabulary, computes no others."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from service.host.generation.schedule import FEWEST_ROWS


class ChunkEnds:
    """Of a model whose head is `head`; None: all logits are computed, and those that count are taken then."""

    def __init__(self, head: nn.Module | None) -> None:
        self._head = head
        self._ends = torch.empty(0, dtype=torch.long)

    @contextmanager
    def only(self, ends: Tensor) -> Generator[None]:
        """Forwards inside the `with` are of chunks that end with their tokens at `ends` [chunks]."""
        self._ends = ends
        # Before the hooks of adapters, which then see the same rows as the head.
        hook = None if self._head is None else self._head.register_forward_pre_hook(self._take, prepend=True)
        try:
            yield
        finally:
            if hook is not None:
                hook.remove()

    def of(self, logits: Tensor) -> Tensor:
        """Logits [chunks, vocabulary], of what the model gave."""
        if logits.shape[1] == FEWEST_ROWS:
            return logits[:, 0]
        return logits[torch.arange(len(self._ends), device=logits.device), self._ends]

    def _take(self, head: nn.Module, args: tuple[Any, ...]) -> Any:
        """Each as often as a row has the same bits among any others, its adapters' included."""
        hidden, *others = args
        rows = torch.arange(len(self._ends), device=hidden.device)
        return hidden[rows, self._ends][:, None].repeat(1, FEWEST_ROWS, 1), *others
