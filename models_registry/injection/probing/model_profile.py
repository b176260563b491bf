"""What small forwards show of a base model: where it takes its rows, what it passes by, and what may share a forward.

A dozen forwards on three rows, most of which answer several questions. No module is changed.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, cast

import torch
from torch import nn

from models_registry.injection.probing.bypass import find_bypassed
from models_registry.injection.probing.coverage import UNKNOWN, ModuleCoverage, find_coverage
from models_registry.injection.probing.observation import Batch, Forward, Run, Trial, observe, observe_alone
from models_registry.injection.probing.row_independence import (
    NOTHING,
    PaddedRows,
    PaddedTrial,
    RowProof,
    Values,
    find_rows,
)
from models_registry.injection.probing.varied_rows import have_twins, vary_batch, vary_reversed

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ModelProfile:
    """`coverage` says where adapters may act, `rows` which outputs are each row's own. None: nothing has shown it
    yet."""

    coverage: ModuleCoverage | None = None
    rows: RowProof | None = None


UNPROBED: Final = ModelProfile()


def probe_model(
    module: nn.Module, forward: Forward, rows: Batch, padded: PaddedRows | None = None, known: ModelProfile = UNPROBED
) -> ModelProfile:
    """Run `forward` on rows made from `rows` (tensors with a common leading dimension), which the module takes.

    Rows of which some are alike show nothing of the outputs: others may later, and what is `known` isn't looked for
    again. A model that doesn't run on these rows has a profile in which nothing may be taken for granted.
    """
    first = vary_batch(rows)
    twins = have_twins(first)
    if twins and known.coverage is not None:
        return known
    try:
        alone = observe_alone(module, forward, first)
        flipped = {name: tensor.flip(0) for name, tensor in first.items()}
        trials = (
            Trial(observe(module, forward, first), alone),
            Trial(observe(module, forward, flipped), alone[::-1]),
        )
    except (Exception, SystemExit) as error:  # a module may raise anything, and no caller asked for these forwards
        log.warning("the base model can't be probed: %s: %s", type(error).__name__, error)
        return ModelProfile(known.coverage or UNKNOWN, None if twins else NOTHING)
    coverage = known.coverage or _find_coverage(module, forward, rows, first, trials)
    return ModelProfile(coverage, None if twins else _find_rows(forward, rows, trials, padded))


def _find_coverage(
    module: nn.Module, forward: Forward, rows: Batch, first: Batch, trials: tuple[Trial, ...]
) -> ModuleCoverage:
    second = vary_reversed(rows)
    try:
        # In a forward of its own: what `observe` samples would be taken for reads of weights.
        bypassed = find_bypassed(module, lambda: forward(first))
        other = Trial(observe(module, forward, second), observe_alone(module, forward, second))
        return find_coverage((*trials, other), bypassed)
    except (Exception, SystemExit) as error:  # as in `probe_model`
        log.warning("the base model's reach stays unknown: %s: %s", type(error).__name__, error)
        return UNKNOWN


def _find_rows(forward: Forward, rows: Batch, trials: tuple[Trial, ...], padded: PaddedRows | None) -> RowProof:
    try:
        outputs = [(_values(trial.together), [_values(run) for run in trial.alone]) for trial in trials]
        if padded is None:
            return find_rows(rows.keys(), outputs, None)
        with torch.no_grad():
            short, together = forward(padded.short), forward(padded.together)
        # The first varied row is the first row as it is: it has run alone already.
        alone = (_named(short), outputs[0][1][0])
        return find_rows(rows.keys(), outputs, PaddedTrial(_named(together), alone, padded.lengths, padded.mask))
    except (Exception, SystemExit) as error:  # as in `probe_model`
        log.warning("the base model's rows stay unproven: %s: %s", type(error).__name__, error)
        return NOTHING


def _values(run: Run) -> Values:
    return _named(run.output)


def _named(output: object) -> Values:
    """Outputs without a name have none that a request could ask for."""
    return cast(Values, output) if isinstance(output, Mapping) else {}
