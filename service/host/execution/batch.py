"""What one forward answers: the rows of one job or of several, sorted by adapter, and whose they are."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from models_registry.base_models.spec import Rows
from service.host.execution.collate import Values, join_rows, rows_at, tokens_of, values_at
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
    """`selections` is one for all, or one per row. `shares` is empty where everything is one job's as it stands. Only
    what is `divisible` may run in two halves."""

    rows: Rows
    selections: tuple[Selection, ...]
    outputs: tuple[str, ...] | None
    shares: tuple[Share, ...] = ()
    divisible: bool = False

    def at(self, indices: Sequence[int]) -> "Batch":
        """Some of its rows, in that order; nobody's share any more."""
        selections = self.selections if len(self.selections) == 1 else tuple(self.selections[i] for i in indices)
        return replace(self, rows=rows_at(self.rows, indices), selections=selections, shares=())


def join_jobs(jobs: Sequence[Job]) -> Batch:
    """Several jobs are of one kind. Rows of one adapter become neighbours, so that each has one segment."""
    whole = _in_turn(jobs)
    size = whole.rows.count
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
        rows=join_rows(rows),
        selections=selections,
        outputs=None if None in wishes else tuple(wanted),
        divisible=all(job.batch_key is not None for job in jobs),
    )


def _each_row(job: Job) -> tuple[Selection, ...]:
    return job.selections * job.size if len(job.selections) == 1 else job.selections


def _by_selection(selections: Sequence[Selection], size: int) -> list[int]:
    if len(selections) == 1:
        return list(range(size))
    rank = {selection: place for place, selection in enumerate(dict.fromkeys(selections))}
    return sorted(range(size), key=lambda index: rank[selections[index]])
