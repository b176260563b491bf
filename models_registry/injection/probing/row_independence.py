"""Which outputs of a base model are each row's own, and whether padding changes any.

Without proof nobody shares a forward: a model may compare its rows, pool them, or let tokens see what is behind them.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import torch
from torch import Tensor

from models_registry.injection.probing.observation import PROBED_ROWS, Batch

Values: TypeAlias = Mapping[str, object]
"""A forward's outputs by name. Those that are neither tensors nor tuples of words are never each row's own."""


@dataclass(frozen=True, slots=True)
class RowProof:
    """Of forwards that took `inputs`: `by_row` are the outputs that give each row what it gets alone, `whole` the
    others, of which `rowless` have another leading dimension than the rows. `by_token` are those of `by_row` with a
    place for each token; None where rows can't be padded."""

    inputs: frozenset[str] = frozenset()
    by_row: frozenset[str] = frozenset()
    whole: frozenset[str] = frozenset()
    by_token: frozenset[str] | None = None
    rowless: frozenset[str] = frozenset()

    def covers(self, inputs: Collection[str], outputs: Sequence[str] | None) -> bool:
        """Whether rows of these inputs may be in one batch with others, as far as these outputs go (None: all there
        are)."""
        if not self.by_row or not self.inputs.issuperset(inputs):
            return False
        return not self.whole if outputs is None else self.by_row.issuperset(outputs)

    def is_without_rows(self, outputs: Sequence[str] | None) -> bool:
        """Whether none of these outputs (None: all there are) belongs to rows, or the model didn't run on another
        number of rows: then the leading dimension is none of rows."""
        if not self.inputs:
            return True
        return self.rowless.issuperset(self.by_row | self.whole if outputs is None else outputs)


NOTHING: Final = RowProof()


@dataclass(frozen=True, slots=True)
class PaddedRows:
    """The first row's beginning, `short`, and that beside the whole first row, `together`, where it is padded.
    `lengths` are the tokens of either; `mask` is the input that hides the padding."""

    short: Batch
    together: Batch
    lengths: tuple[int, int]
    mask: str


@dataclass(frozen=True, slots=True)
class PaddedTrial:
    """What the model gives for both `PaddedRows` together, and for each alone."""

    together: Values
    alone: tuple[Values, Values]
    lengths: tuple[int, int]
    mask: str


def find_rows(
    inputs: Collection[str], trials: Sequence[tuple[Values, Sequence[Values]]], padded: PaddedTrial | None
) -> RowProof:
    """`trials` are outputs for `PROBED_ROWS` rows together, and for each alone; in several orders, so that an output
    can't be each row's own by chance. `padded`: None where the rows have no tokens."""
    together, _ = trials[0]
    names = together.keys()
    by_row = {name for name in names if all(_is_each_rows_own(name, *trial) for trial in trials)}
    if by_row >= names - _words(together):
        by_row |= _words(together)
    by_token = None if padded is None else _find_tokens(padded, by_row)
    mask = set[str]() if padded is None or by_token is None else {padded.mask}
    rowless = frozenset(name for name in names if not _has_rows(together[name]))
    return RowProof(frozenset({*inputs, *mask}), frozenset(by_row), frozenset(names - by_row), by_token, rowless)


def _find_tokens(padded: PaddedTrial, by_row: Collection[str]) -> frozenset[str] | None:
    pairs = list(zip(padded.alone, padded.lengths, strict=True))
    by_token = frozenset(name for name in by_row if all(_has_tokens(alone[name], length) for alone, length in pairs))
    for row, (alone, length) in enumerate(pairs):
        for name in set(by_row) - _words(padded.together):
            own = _row(padded.together[name], row)
            if not _same(own[:, :length] if name in by_token and isinstance(own, Tensor) else own, alone[name]):
                return None
    return by_token


def _is_each_rows_own(name: str, together: Values, alone: Sequence[Values]) -> bool:
    value = together[name]
    return _has_rows(value) and all(_same(_row(value, row), one.get(name)) for row, one in enumerate(alone))


def _row(value: object, row: int) -> object:
    return value[row : row + 1] if isinstance(value, Tensor | tuple) else value


def _words(values: Values) -> set[str]:
    """Labels and tokens are the likeliest by a row's numbers. Between two that are as likely rounding decides, so that
    they are each row's own where all numbers are."""
    return {name for name, value in values.items() if _is_words(value)}


def _is_words(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(word, str) for word in value)


def _has_rows(value: object) -> bool:
    if isinstance(value, Tensor):
        return value.ndim > 0 and len(value) == PROBED_ROWS
    return isinstance(value, tuple) and _is_words(value) and len(value) == PROBED_ROWS


def _has_tokens(value: object, length: int) -> bool:
    return isinstance(value, Tensor) and value.ndim > 1 and value.shape[1] == length


def _same(one: object, other: object) -> bool:
    """Up to the rounding of another order of summing, which grows with depth: half of the digits."""
    if not isinstance(one, Tensor) or not isinstance(other, Tensor):
        return _is_words(one) and one == other
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if not one.is_floating_point():
        return torch.equal(one, other)
    difference = torch.dist(one.double(), other.double()).item()
    return difference <= math.sqrt(torch.finfo(one.dtype).eps) * other.double().norm().item()
