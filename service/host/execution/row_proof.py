"""What small forwards prove of a base model's outputs: which are each row's own, and that padding changes none.

Without proof nobody shares a forward: a model may compare its rows, pool them, or let tokens see what is behind them.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor, nn

from models_registry.base_models.spec import BaseModelSpec, Rows
from models_registry.injection.probing.coverage import vary
from models_registry.injection.probing.observation import PROBED_ROWS
from models_registry.inputs.values import OutputValue
from service.host.execution.collate import Values, join_rows, rows_at, shortened, tokens_of, values_at

log = logging.getLogger(__name__)


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

    def covers(self, rows: Rows, outputs: Sequence[str] | None) -> bool:
        """Whether these rows may be in one batch with others, as far as these outputs go (None: all there are)."""
        if rows.count is None or not self.by_row or not rows.tensors.keys() <= self.inputs:
            return False
        return not self.whole if outputs is None else self.by_row.issuperset(outputs)

    def is_without_rows(self, outputs: Sequence[str] | None) -> bool:
        """Whether none of these outputs (None: all there are) belongs to rows, or the model didn't run on another
        number of rows: then the leading dimension is none of rows."""
        if not self.inputs:
            return True
        return self.rowless.issuperset(self.by_row | self.whole if outputs is None else outputs)


NOTHING: Final = RowProof()


def prove_rows(spec: BaseModelSpec, module: nn.Module, rows: Rows) -> RowProof | None:
    """Run the base on rows made from `rows`, together and one by one. None where some of these are alike, which shows
    nothing. A model that doesn't run on them stays unproven."""
    try:
        with torch.inference_mode():
            batch = replace(rows, tensors={k: vary(v) for k, v in rows.tensors.items()}, count=PROBED_ROWS)
            if _have_twins(batch):
                return None
            order = range(PROBED_ROWS)
            alone = [spec.forward(module, rows_at(batch, [row])) for row in order]
            together, flipped = spec.forward(module, batch), spec.forward(module, rows_at(batch, order[::-1]))
            names = together.keys()
            # In another order too, so that an output can't be each row's own by chance.
            trials = ((together, alone), (flipped, alone[::-1]))
            by_row = {name for name in names if all(_is_each_rows_own(name, *trial) for trial in trials)}
            if by_row >= names - _words(together):
                by_row |= _words(together)
            by_token = _prove_padding(spec, module, rows, by_row)
            rowless = frozenset(name for name in names if not _has_rows(together[name]))
    except Exception as error:  # a module's forward may raise anything, and no caller asked for this one
        log.warning("the base model's rows stay unproven: %s: %s", type(error).__name__, error)
        return NOTHING
    mask = {rows.padding.mask} if rows.padding and by_token is not None else set[str]()
    return RowProof(
        frozenset(rows.tensors.keys() | mask), frozenset(by_row), frozenset(names - by_row), by_token, rowless
    )


def _prove_padding(spec: BaseModelSpec, module: nn.Module, rows: Rows, by_row: set[str]) -> frozenset[str] | None:
    """One row beside its own first half, which is padded then."""
    length = tokens_of(rows)
    if length < 2:
        return None
    long = rows_at(rows, [0])
    parts = (shortened(long, length // 2), long)
    alone = [spec.forward(module, part) for part in parts]
    by_token = frozenset(name for name in by_row if all(map(_has_tokens, (one[name] for one in alone), parts)))
    together = spec.forward(module, join_rows(parts))
    for row, (one, part) in enumerate(zip(alone, parts, strict=True)):
        own = values_at({name: together[name] for name in by_row}, [row], tokens_of(part), by_token)
        if not all(_same(own[name], one[name]) for name in by_row - _words(together)):
            return None
    return by_token


def _have_twins(batch: Rows) -> bool:
    """Whether a row is the next one again."""
    return any(
        all(torch.equal(tensor[row], tensor[(row + 1) % PROBED_ROWS]) for tensor in batch.tensors.values())
        for row in range(PROBED_ROWS)
    )


def _is_each_rows_own(name: str, together: Values, alone: Sequence[Values]) -> bool:
    value = together[name]
    if not _has_rows(value):
        return False
    rows = [values_at({name: value}, [row], 0, ())[name] for row in range(PROBED_ROWS)]
    return all(_same(row, one.get(name)) for row, one in zip(rows, alone, strict=True))


def _words(values: Values) -> set[str]:
    """Labels and tokens are the likeliest by a row's numbers. Between two that are as likely rounding decides, so that
    they are each row's own where all numbers are."""
    return {name for name, value in values.items() if not isinstance(value, Tensor)}


def _has_rows(value: OutputValue) -> bool:
    return not (isinstance(value, Tensor) and value.ndim == 0) and len(value) == PROBED_ROWS


def _has_tokens(value: OutputValue, rows: Rows) -> bool:
    return isinstance(value, Tensor) and value.ndim > 1 and value.shape[1] == tokens_of(rows)


def _same(one: OutputValue, other: OutputValue | None) -> bool:
    """Up to the rounding of another order of summing, which grows with depth: half of the digits."""
    if isinstance(one, tuple) or not isinstance(other, Tensor):
        return isinstance(one, tuple) and one == other
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if not one.is_floating_point():
        return torch.equal(one, other)
    difference = torch.dist(one.double(), other.double()).item()
    return difference <= math.sqrt(torch.finfo(one.dtype).eps) * other.double().norm().item()
