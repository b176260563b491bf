"""A batch's outputs: one forward under the rows' routing, or one per distinct composition where rows can't be routed.

Runs on the model's own thread. Knows rows and compositions; nothing of queues, residency or callers.
"""

from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import torch

from models_registry.base_models.spec import BaseModelSpec, Rows
from models_registry.errors import Invalid, RowsLost, Unavailable, WithoutEffect
from models_registry.injection.adapted_model import AdaptedModel
from models_registry.injection.routing.routing import Routing
from models_registry.inputs.values import OutputValue
from models_registry.records import Architecture, Fault, Location
from models_registry.references import reference_of
from service.host.device import give_memory_back
from service.host.execution.batch import Batch, join_jobs
from service.host.execution.collate import Values, join_values, rows_at
from service.host.scheduling.job import Job
from service.protocol.types import BASE, Selection

NO_MEMORY = "Not enough memory for this request at the moment; send fewer or shorter rows."
CPU_IS_FULL = "DefaultCPUAllocator: can't allocate memory"  # torch has no error class of its own for it
WHOLE_NUMBERS = ("got Long", "long int")  # in torch's words for int64 beside floats
FLOATS = "Whole numbers in nested lists are int64: write 1.0 for floats, or send `dtype`, `shape` and `data`."


@dataclass(frozen=True, slots=True)
class Outputs:
    """On the CPU. `selections` made them: one per row, or one where they were returned whole."""

    values: Mapping[str, OutputValue]
    selections: tuple[Selection, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """The rows (their indices) that share one composition, and what the model gave for them."""

    indices: tuple[int, ...]
    values: Mapping[str, OutputValue]


class OutOfMemory(Unavailable):
    """A forward needed more than there is."""


def answer_jobs(
    spec: BaseModelSpec,
    adapted: AdaptedModel,
    jobs: Sequence[Job],
    by_token: Collection[str] = (),
) -> tuple[Outputs, ...]:
    """One forward for all of them, if they are several; each gets its own rows, of the outputs in `by_token` cut to its
    own tokens. Raises `Invalid` where the inputs are to blame or an asked output doesn't exist."""
    batch = join_jobs(jobs)
    outputs = _answer(spec, adapted, batch)
    if not batch.shares:
        return (outputs,)
    _require_rows(outputs.values, sum(job.size for job in jobs))
    return tuple(
        Outputs(share.of(outputs.values, by_token), _each_row(job.selections, job.size))
        for job, share in zip(jobs, batch.shares, strict=True)
    )


def _answer(spec: BaseModelSpec, adapted: AdaptedModel, batch: Batch) -> Outputs:
    """Where memory runs out, once more without the copies that hot adapters have; then a request's rows in halves, and
    so on. Several requests are halved by the worker, as after every other failure."""
    halves = batch.divisible and (batch.rows.count or 1) > 1 and len(batch.shares) <= 1
    try:
        return _run(spec, adapted, batch)
    except OutOfMemory:
        if not adapted.merged_weights.clear() and not halves:
            raise
    # Only here, for the error would keep alive what the forward took.
    give_memory_back()
    if not halves:
        return _run(spec, adapted, batch)
    indices = range(batch.rows.count or 1)
    middle = len(indices) // 2
    pieces: list[Piece] = []
    for half in (indices[:middle], indices[middle:]):
        values = _answer(spec, adapted, batch.at(half)).values
        _require_rows(values, len(half))
        pieces.append(Piece(tuple(half), values))
    return Outputs(_in_row_order(pieces), _each_row(batch.selections, len(indices)))


def _run(spec: BaseModelSpec, adapted: AdaptedModel, batch: Batch) -> Outputs:
    with torch.inference_mode(), blame_on_inputs():
        return _forward(spec, adapted, batch, batch.rows)


def check_selections(per_row: bool, selections: Sequence[Selection], count: int | None) -> None:
    """Raises `Invalid` unless a list of adapters has one entry per row; without rows all must be the same."""
    if not per_row:
        return
    if count is None and len(set(selections)) != 1:
        raise Invalid("These inputs have no rows.", [Fault(("adapter",), "give one adapter for all")])
    if count is not None and len(selections) != count:
        message = f"has {len(selections)} entries for {count} rows; give one per row, or one for all outside a list"
        raise Invalid("There is not one adapter per row.", [Fault(("adapter",), message)])


def check_heads(architecture: Architecture, selections: Sequence[Selection]) -> None:
    """Raises `Invalid` for base rows of a model whose head only adapters bring: its own would be made up."""
    head = architecture.absent_head
    rows = [row for row, selection in enumerate(selections) if not selection.parts]
    if head is None or not rows:
        return
    message = f"the base model's files hold no {', '.join(head.modules)}; name an adapter that brings its own"
    locs: list[Location] = [("adapter",)] if len(selections) == 1 else [("adapter", row) for row in rows]
    raise Invalid("The base model has no head of its own.", [Fault(loc, message) for loc in locs])


def _forward(spec: BaseModelSpec, adapted: AdaptedModel, batch: Batch, rows: Rows) -> Outputs:
    groups = _rows_by_selection(batch.selections, rows.count)
    if len(groups) <= 1:
        with acting(adapted, adapted.routed_whole(next(iter(groups), BASE).composition)):
            values = _chosen(spec.forward(adapted.module, rows), batch.outputs)
        if rows.count is None or _without_rows(values, rows.count):
            return Outputs(values, batch.selections[:1] or (BASE,))
        return Outputs(values, _each_row(batch.selections, rows.count))

    def run(indices: Sequence[int]) -> Values:
        part = rows if len(indices) == rows.count else rows_at(rows, indices)
        values = _chosen(spec.forward(adapted.module, part), batch.outputs)
        _require_rows(values, len(indices))
        return values

    return Outputs(_run_mixed(adapted, batch.selections, groups, run), batch.selections)


def _run_mixed(
    adapted: AdaptedModel,
    selections: Sequence[Selection],
    groups: Mapping[Selection, tuple[int, ...]],
    run: Callable[[Sequence[int]], Values],
) -> Values:
    """All rows in one `run` where their adapters can be routed in it, else one `run` for each of the `groups`."""
    if len(groups) > 1 and adapted.routes_rows({name for selection in groups for name in selection.composition}):
        try:
            with acting(adapted, adapted.routed([selection.composition for selection in selections])):
                return run(range(len(selections)))
        except RowsLost:
            adapted.distrust_rows()  # the model takes a batch of this size apart; its adapters go one by one
    pieces: list[Piece] = []
    for selection, indices in groups.items():
        with acting(adapted, adapted.routed_whole(selection.composition)):
            pieces.append(Piece(indices, run(indices)))
    return _in_row_order(pieces)


def require_coverage(adapted: AdaptedModel, selections: Iterable[Selection]) -> None:
    """Raises `WithoutEffect` for adapters that a forward was seen to pass by in part."""
    if passed := adapted.bypassing({name for selection in selections for name in selection.composition}):
        adapted.inactive |= passed
        faults = [
            Fault(("adapter", reference_of(name)), "acts on a module whose weight is read without calling it")
            for name in sorted(passed)
        ]
        raise WithoutEffect("An adapter could only act in part.", faults)


@contextmanager
def acting(adapted: AdaptedModel, routed: AbstractContextManager[Routing]) -> Generator[None]:
    """Raises `WithoutEffect` after a forward that never entered any place of an adapter it was to follow."""
    with routed as routing:
        yield
    if inactive := adapted.note_effect(routing):
        faults = [
            Fault(("adapter", reference_of(name)), "acts on no module that these inputs enter")
            for name in sorted(inactive)
        ]
        raise WithoutEffect("An adapter had no effect on its rows, which would have been the base model's.", faults)


def _each_row(selections: tuple[Selection, ...], count: int) -> tuple[Selection, ...]:
    return selections * count if len(selections) == 1 else selections


def _rows_by_selection(selections: Sequence[Selection], count: int | None) -> dict[Selection, tuple[int, ...]]:
    if len(selections) == 1 or count is None:
        return {selections[0]: tuple(range(count or 0))}
    groups: dict[Selection, list[int]] = {}
    for row, selection in enumerate(selections):
        groups.setdefault(selection, []).append(row)
    return {selection: tuple(indices) for selection, indices in groups.items()}


def _chosen(values: Mapping[str, OutputValue], outputs: tuple[str, ...] | None) -> dict[str, OutputValue]:
    chosen = tuple(values) if outputs is None else outputs
    if missing := [name for name in chosen if name not in values]:
        faults = [Fault(("outputs", name), f"doesn't exist; the model gives {', '.join(values)}") for name in missing]
        raise Invalid("The model doesn't give every output that was asked for.", faults)
    return {name: _on_cpu(values[name]) for name in chosen}


def _on_cpu(value: OutputValue) -> OutputValue:
    return value.cpu() if isinstance(value, torch.Tensor) else value


def _without_rows(values: Mapping[str, OutputValue], count: int) -> list[str]:
    return [name for name, value in values.items() if _leading_dimension(value) != count]


def _leading_dimension(value: OutputValue) -> int | None:
    if isinstance(value, torch.Tensor):
        return value.shape[0] if value.ndim else None
    return len(value)


def _require_rows(values: Mapping[str, OutputValue], count: int) -> None:
    if whole := _without_rows(values, count):
        faults = [Fault(("outputs", name), "has no rows; ask with one adapter, or leave it out") for name in whole]
        raise Invalid("Outputs that don't belong to rows can't be made by several adapters.", faults)


def _in_row_order(pieces: Sequence[Piece]) -> dict[str, OutputValue]:
    return {name: _merged([(piece.indices, piece.values[name]) for piece in pieces], name) for name in pieces[0].values}


def _merged(pieces: Sequence[tuple[tuple[int, ...], OutputValue]], name: str) -> OutputValue:
    order = [index for indices, _ in pieces for index in indices]
    back = sorted(range(len(order)), key=order.__getitem__)
    joined = join_values(name, [value for _, value in pieces])
    return joined[torch.tensor(back)] if isinstance(joined, torch.Tensor) else tuple(joined[place] for place in back)


@contextmanager
def blame_on_inputs() -> Generator[None]:
    """A module states no contract: that it can't take these inputs shows in what its forward raises."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(NO_MEMORY) from error
    except torch.AcceleratorError:
        raise  # the device itself failed, whatever the inputs were
    except (RuntimeError, IndexError, TypeError, ValueError, KeyError) as error:
        if CPU_IS_FULL in str(error):
            raise OutOfMemory(NO_MEMORY) from error
        hint = FLOATS if any(words in str(error) for words in WHOLE_NUMBERS) else None
        raise Invalid(
            f"The base model can't run on these inputs: {type(error).__name__}: {error}", hint=hint
        ) from error
