"""What a few small forwards show of a base model: which modules it enters, and at which of them rows stay rows.

A model may fold time, windows or heads into the batch dimension, permute or sort it, or send only some rows to a
module. So batches run once as a whole and once row by row, and a module's rows count as rows only where both give it
the same, in any order and for other contents too. What a model returns must have rows as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch

from models_registry.injection.probing.observation import PROBED_ROWS, Call, Run, Seen, Trial

NEARER = 0.1
"""How much nearer a row must be to itself than to the next one. Roundings of a batch differ from those of a row."""
DIGITS = 0.75
"""Rows that are equal in so many of their digits count as alike, so that their order may change: the others may be
rounding, which differs with the number of rows, the number of threads and where tensors lie in memory."""


@dataclass(frozen=True, slots=True)
class ModuleCoverage:
    """`entered` are the modules that the forward calls; `by_row` those of them that it always calls with the batch's
    rows along the leading dimension, so that a delta at index i reaches row i alone. `bypassed` are modules whose
    weights it reads without calling them: an adapter there would not act, or act in part."""

    entered: frozenset[str]
    by_row: frozenset[str]
    bypassed: frozenset[str]


UNKNOWN: Final = ModuleCoverage(frozenset(), frozenset(), frozenset())


def find_coverage(trials: Sequence[Trial], bypassed: frozenset[str]) -> ModuleCoverage:
    """`trials` are forwards of the base on rows of which no two are alike, in order or in content."""
    entered = frozenset(name for trial in trials for name in trial.together.calls)
    by_row = frozenset(name for name in entered if all(_enters_by_row(name, t.together, t.alone) for t in trials))
    if not all(_same_rows(t.together.returned, [run.returned for run in t.alone]) for t in trials):
        by_row = frozenset[str]()
    return ModuleCoverage(entered, by_row, bypassed)


def _enters_by_row(name: str, together: Run, alone: Sequence[Run]) -> bool:
    """Whether each call's row i is what row i gives alone, and unlike what the other rows give."""
    calls = together.calls.get(name)
    singles = [run.calls.get(name) for run in alone]
    if calls is None or any(single is None or len(single) != len(calls) for single in singles):
        return False
    by_call = zip(calls, *(single for single in singles if single), strict=True)
    return all(_is_by_row(whole, list(parts)) for whole, *parts in by_call)


def _is_by_row(whole: Call, alone: Sequence[Call]) -> bool:
    """Rows are found in the first tensor. The others stay with it: a copy of the module runs on its own rows."""
    givens = [call.given for call in alone]
    return (
        bool(whole.given)
        and _same_rows(whole.given[:1], [given[:1] for given in givens], told_apart=True)
        and _same_rows(whole.given[1:], [given[1:] for given in givens], shared=True)
        and _same_rows(whole.gave, [call.gave for call in alone])
    )


def _same_rows(
    whole: Sequence[Seen], alone: Sequence[Sequence[Seen]], *, told_apart: bool = False, shared: bool = False
) -> bool:
    """`told_apart`: no two rows may be alike. `shared`: a tensor of one row for all of them is fine too."""
    if any(len(seen) != len(whole) for seen in alone):
        return False
    return all(
        (shared and together.shape[:1] in ((), (1,)) and all(part.shape == together.shape for part in parts))
        or _is_row_wise(together, parts, told_apart)
        for together, *parts in zip(whole, *alone, strict=True)
    )


def _is_row_wise(whole: Seen, alone: Sequence[Seen], told_apart: bool) -> bool:
    if not whole.shape or whole.shape[0] != PROBED_ROWS:
        return False
    if any(part.shape != (1, *whole.shape[1:]) for part in alone):
        return False
    if whole.rows is None or any(part.rows is None for part in alone):
        return not told_apart  # nothing in it that could be mixed up
    rows = [part.rows[0] for part in alone if part.rows is not None]
    for index, row in enumerate(rows):
        other = rows[(index + 1) % PROBED_ROWS]
        if told_apart and torch.equal(row, other):
            return False
        alike = 0.0 if told_apart else whole.eps**DIGITS * torch.linalg.vector_norm(row)
        if not torch.dist(whole.rows[index], row) <= max(NEARER * torch.dist(row, other), alike):
            return False
    return True
