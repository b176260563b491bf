"""The rows that a model is probed with: made from one that it takes, and unlike each other."""

import torch
from torch import Tensor

from models_registry.injection.probing.observation import PROBED_ROWS, Batch


def vary_batch(batch: Batch) -> Batch:
    """`PROBED_ROWS` rows made from `batch`, whose tensors have a common leading dimension."""
    return {name: vary(tensor) for name, tensor in batch.items()}


def vary_reversed(batch: Batch) -> Batch:
    """Others, made from the same rows read backwards."""
    return {name: vary(tensor.flip(-1) if tensor.dim() > 1 else tensor) for name, tensor in batch.items()}


def have_twins(varied: Batch) -> bool:
    """Whether a row is the next one again, so that nothing shows which of them is which."""
    return any(
        all(torch.equal(tensor[row], tensor[(row + 1) % PROBED_ROWS]) for tensor in varied.values())
        for row in range(PROBED_ROWS)
    )


def vary(tensor: Tensor) -> Tensor:
    """`PROBED_ROWS` rows of what stands in `tensor`: some of it repeated, then rolled, and real numbers made larger."""
    rows = [tensor[shift % len(tensor)] for shift in range(PROBED_ROWS)]
    varied = [_repeat(row, shift).roll(shift, dims=-1) if row.dim() else row for shift, row in enumerate(rows)]
    if tensor.is_floating_point() and not ((tensor == 0) | (tensor == 1)).all():  # a mask stays one
        varied = [row * (1 + shift) for shift, row in enumerate(varied)]
    return torch.stack(varied)


def _repeat(row: Tensor, times: int) -> Tensor:
    """Along the last dimension, in groups of `1 + times`; but not the ends, where special tokens stand."""
    at = torch.arange(row.shape[-1], device=row.device)
    inner = at[1:-1] - (at[1:-1] - 1) % (1 + times)
    return row[..., torch.cat([at[:1], inner, at[1:][-1:]])]
