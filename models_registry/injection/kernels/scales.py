"""IA³'s scales of a batch, gathered: one multiplication for all rows, where one for each adapter would be more."""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from models_registry.injection.routing.rows import RowsOf

WORTH_GATHERING: Final = 4
"""From so many adapters on, gathering and multiplying once is less than multiplying for each."""


def gather_scales(scales: Sequence[tuple[RowsOf, Tensor]], rows: int) -> Tensor:
    """`[rows, features]`: to each row the scale of the slice that it is in, or ones."""
    which = [0] * rows
    for place, (own, _) in enumerate(scales, start=1):
        for row in range(rows)[own] if isinstance(own, slice) else range(rows):
            which[row] = place
    _, like = scales[0]
    # Later forwards may track gradients, even where this one doesn't.
    with torch.inference_mode(False):
        vectors = torch.stack([torch.ones_like(like), *(scale for _, scale in scales)])
        return vectors[torch.tensor(which, device=like.device)]


def over_rows(scales: Tensor, dimensions: int, spatial: int) -> Tensor:
    """Shaped to multiply a tensor of so many dimensions, `spatial` of them behind the features."""
    rows, features = scales.shape
    return scales.view(rows, *(1,) * (dimensions - 2 - spatial), features, *(1,) * spatial)
