"""Scales and shifts of a batch, gathered: one operation for all rows, where one for each adapter would be more."""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from models_registry.injection.routing.rows import RowsOf

WORTH_GATHERING: Final = 4
"""From so many adapters on, gathering and multiplying once is less than multiplying for each."""


def gather_vectors(vectors: Sequence[tuple[RowsOf, Tensor]], rows: int, otherwise: float) -> Tensor:
    """`[rows, features]`: to each row the vector of the slice that it is in; `otherwise` for rows that are in none."""
    which = [0] * rows
    for place, (own, _) in enumerate(vectors, start=1):
        for row in range(rows)[own] if isinstance(own, slice) else range(rows):
            which[row] = place
    _, like = vectors[0]
    # Later forwards may track gradients, even where this one doesn't.
    with torch.inference_mode(False):
        stacked = torch.stack([torch.full_like(like, otherwise), *(vector for _, vector in vectors)])
        return stacked[torch.tensor(which, device=like.device)]


def over_rows(vectors: Tensor, dimensions: int, spatial: int) -> Tensor:
    """Shaped to act on a tensor of so many dimensions, `spatial` of them behind the features."""
    rows, features = vectors.shape
    return vectors.view(rows, *(1,) * (dimensions - 2 - spatial), features, *(1,) * spatial)
