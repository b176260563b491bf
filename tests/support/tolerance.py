"""How far two ways to compute the same numbers may lie apart, whatever kernels a processor's libraries choose.

A kernel adds up in any order and may fuse a product with its sum. Each addition then rounds by at most half an epsilon
of the largest number on the way (Higham, Accuracy and Stability of Numerical Algorithms, section 4.2), and two ways
differ by at most twice that for each term.
"""

from typing import Final

import torch
from torch import Tensor

EXACT: Final = 1e-10
"""In float64, as a part of the largest number (or of 1): half a million roundings fit in, no mistake does."""

PROMISED: Final = 1e-5
"""In float32, as a part of the largest number (or of 1): what any base model's row keeps to beside others."""


def tolerance(expected: Tensor, terms: int | None = None, magnitude: float = 0.0) -> float:
    """The largest distance from `expected` that is rounding.

    Args:
        terms: how many numbers are added up on the way from an input to an output, layer after layer; float64 needs
            none. 1 is a single rounding of a sum that was kept in a wider dtype.
        magnitude: of the largest number on the way, where `expected` itself is smaller.
    """
    if expected.dtype == torch.float64 and terms is None:
        return EXACT * max(_largest(expected), magnitude, 1.0)
    assert terms is not None, f"say how many terms are added up in {expected.dtype}, or compare in float64"
    return torch.finfo(expected.dtype).eps * terms * max(_largest(expected), magnitude)


def assert_same(actual: Tensor, expected: Tensor, terms: int | None = None, magnitude: float = 0.0) -> None:
    """The same numbers, shape and dtype, up to rounding."""
    torch.testing.assert_close(actual, expected, atol=tolerance(expected, terms, magnitude), rtol=0)


def _largest(tensor: Tensor) -> float:
    return float(tensor.detach().abs().max()) if tensor.numel() else 0.0


def assert_same_in_float32(actual: Tensor, expected: Tensor) -> None:
    """The same numbers as far as the service promises: in float32 a row equals its solo run to `PROMISED`."""
    magnitude = max(_largest(expected), 1.0)
    torch.testing.assert_close(actual, expected, atol=PROMISED * magnitude, rtol=0)
