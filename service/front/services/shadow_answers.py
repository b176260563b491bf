"""Whether two versions answered a request alike."""

from typing import Literal, TypeAlias

import torch

from models_registry.inputs.values import OutputValue
from service.protocol.types import HostAnswer

Likeness: TypeAlias = Literal["equal", "close", "different"]
TOLERANCE = 1e-5
"""Relative and absolute, as answers of the same adapter differ at most (float32)."""


def compare(one: HostAnswer, other: HostAnswer) -> Likeness:
    """`equal`: the same bits and texts; `close`: the same texts, and numbers within the tolerance."""
    if one.outputs.keys() != other.outputs.keys():
        return "different"
    found = {_compare(value, other.outputs[name]) for name, value in one.outputs.items()}
    if "different" in found:
        return "different"
    return "close" if "close" in found else "equal"


def size_of(answer: HostAnswer) -> int:
    """In bytes, of the tensors."""
    return sum(value.nbytes for value in answer.outputs.values() if isinstance(value, torch.Tensor))


def _compare(one: OutputValue, other: OutputValue) -> Likeness:
    if not isinstance(one, torch.Tensor) or not isinstance(other, torch.Tensor):
        return "equal" if not isinstance(other, torch.Tensor) and one == other else "different"
    if one.shape != other.shape or one.dtype != other.dtype:
        return "different"
    if torch.equal(_bytes(one), _bytes(other)):
        return "equal"
    return "close" if torch.allclose(one, other, TOLERANCE, TOLERANCE, equal_nan=True) else "different"


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)
