"""What one forward answers: the rows of one job or of several, sorted by adapter, and whose they are."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

from models_registry.base_models.spec import Rows
from models_registry.inputs.values import Inputs
from service.host.execution.collate import Values, join_rows, rows_at, tokens_of, values_at
from service.host.generation.fallback import HeardText
from service.host.scheduling.job import Job
from service.protocol.types import Selection


@dataclass(frozen=True, slots=True)
class Share:
    """The places of one job's rows in the batch, in the job's own order, and how many tokens they have."""

    places: tuple[int, ...]
    length: int
    outputs: tuple[str, ...] | None

    def of(self, values: Values, by_token: Collection[str]) -> Values:
        names = values if self.outputs is None else self.outputs
        return values_at({name: values[name] for name in names}, self.places, self.length, by_token)


@dataclass(frozen=True, slots=True)
class Batch:
    """`selections` is one for all, or one per row. Without `rows` the texts of `inputs` are to be continued; `places`
    are theirs in their callers' requests, and `heard` hear them.

    `shares` is empty where everything is one job's as it stands. Only what is `divisible` may run in two halves. Once
    `stopped` says so, nobody waits for any of it any more.
    """

    rows: Rows | None
    inputs: Inputs
    parameters: Mapping[str, Any]
    selections: tuple[Selection, ...]
    outputs: tuple[str, ...] | None
    shares: tuple[Share, ...] = ()
    divisible: bool = False
    stopped: Callable[[], bool] = lambda: False
    places: tuple[int, ...] = ()
    heard: tuple[HeardText, ...] = ()

    @property
    def size(self) -> int | None:
        return len(self.inputs.texts) if self.rows is None else self.rows.count

    def at(self, indices: Sequence[int]) -> "Batch":
        """Some of its rows, in that order; nobody's share any more."""
        selections = self.selections if len(self.selections) == 1 else tuple(self.selections[i] for i in indices)
        rows = None if self.rows is None else rows_at(self.rows, indices)
        texts = self.inputs.texts and tuple(self.inputs.texts[index] for index in indices)
        inputs = replace(self.inputs, texts=texts)
        places = self.places and tuple(self.places[index] for index in indices)
        heard = self.heard and tuple(self.heard[index] for index in indices)
        return replace(self, rows=rows, inputs=inputs, selections=selections, shares=(), places=places, heard=heard)


def join_jobs(jobs: Sequence[Job], heard: Sequence[HeardText] = ()) -> Batch:
    """Several jobs are of one kind; `heard` hear all their texts in turn. Rows of one adapter become neighbours, so
    that each has one segment."""
    whole = replace(_in_turn(jobs), heard=tuple(heard))
    size = whole.size
    if size is None or (len(jobs) == 1 and len(set(whole.selections)) == 1):
        return whole
    order = _by_selection(whole.selections, size)
    sorted_rows = whole if order == list(range(size)) else whole.at(order)
    place_of = {index: place for place, index in enumerate(order)}
    starts = accumulate((job.size for job in jobs), initial=0)
    shares = tuple(
        Share(
            tuple(place_of[index] for index in range(start, start + job.size)),
            tokens_of(job.rows) if job.rows else 0,
            job.request.outputs,
        )
        for start, job in zip(starts, jobs, strict=False)
    )
    return replace(sorted_rows, shares=shares)


def _in_turn(jobs: Sequence[Job]) -> Batch:
    first = jobs[0]
    rows = [job.rows for job in jobs if job.rows is not None]
    selections = first.selections if len(jobs) == 1 else tuple(one for job in jobs for one in _each_row(job))
    wishes = [job.request.outputs for job in jobs]
    wanted = dict.fromkeys(name for wish in wishes if wish is not None for name in wish)
    return Batch(
        rows=join_rows(rows) if rows else None,
        inputs=Inputs() if rows else _joined_texts([job.request.inputs for job in jobs]),
        parameters=first.request.parameters or {},
        selections=selections,
        outputs=None if None in wishes else tuple(wanted),
        divisible=all(job.batch_key is not None for job in jobs),
        stopped=lambda: all(job.left.is_set() for job in jobs),
        places=() if rows else tuple(job.start + row for job in jobs for row in range(job.size)),
    )


def _joined_texts(inputs: Sequence[Inputs]) -> Inputs:
    return replace(inputs[0], texts=tuple(text for one in inputs for text in one.texts))


def _each_row(job: Job) -> tuple[Selection, ...]:
    return job.selections * job.size if len(job.selections) == 1 else job.selections


def _by_selection(selections: Sequence[Selection], size: int) -> list[int]:
    if len(selections) == 1:
        return list(range(size))
    rank = {selection: place for place, selection in enumerate(dict.fromkeys(selections))}
    return sorted(range(size), key=lambda index: rank[selections[index]])
