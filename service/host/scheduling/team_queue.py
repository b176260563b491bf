"""One team's jobs that wait, in one queue per adapter: every queue in turn, however long it is.

An adapter with ten times as many requests has a queue ten times as long; the queues of others don't get longer by it.
A queue whose adapters are still being loaded is passed over and keeps its place, so that it is first as soon as they
are in memory.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from itertools import zip_longest
from typing import Final

from service.host.scheduling.batch_builder import BatchBuilder
from service.host.scheduling.job import Job
from service.host.scheduling.ramp import Ramp
from service.protocol.types import HostAnswer


class TeamQueue:
    """In the order in which its jobs are served next. Not thread-safe."""

    def __init__(self, team: str) -> None:
        self._team = team
        self._queues: dict[frozenset[str], list[Job]] = {}
        """By the adapters that a job names; empty for the base's own queue."""
        self._ramp = Ramp()

    def __iter__(self) -> Iterator[Job]:
        return (job for jobs in self._queues.values() for job in jobs)

    def __bool__(self) -> bool:
        return bool(self._queues)

    @property
    def is_forgettable(self) -> bool:
        """Whether a new one would do as well."""
        return not self._queues and self._ramp.is_over

    def in_fair_order(self) -> Iterator[Job]:
        """All jobs in the order of their turns: the first of each queue, then the second of each."""
        return (job for turn in zip_longest(*self._queues.values()) for job in turn if job is not None)

    def add(self, job: Job) -> None:
        self._queues.setdefault(job.adapters, []).append(job)

    def withdraw(self, meant: Callable[[Job], bool]) -> tuple[Job, ...]:
        """Remove the jobs that are `meant`, and return them."""
        withdrawn = tuple(job for job in self if meant(job))
        queues = ((key, [job for job in jobs if not meant(job)]) for key, jobs in self._queues.items())
        self._queues = {key: jobs for key, jobs in queues if jobs}
        return withdrawn

    def discard(self, adapters: frozenset[str], future: Future[HostAnswer]) -> None:
        """Remove the job that was to answer `future`, if it still waits in the queue of these adapters."""
        jobs = self._queues.get(adapters, [])
        if job := next((job for job in jobs if job.future is future), None):
            self.remove(job)

    def remove(self, job: Job) -> None:
        jobs = self._queues[job.adapters]
        jobs.remove(job)
        if not jobs:
            del self._queues[job.adapters]

    def replace(self, job: Job, parts: Sequence[Job]) -> None:
        """Put the parts of a job where it waited."""
        jobs = self._queues[job.adapters]
        place = jobs.index(job)
        jobs[place : place + 1] = parts

    def record(self, batch: BatchBuilder, max_rows: int) -> None:
        """It has jobs in the batch, which may have had `max_rows`."""
        own = batch.adapters[self._team]
        self._ramp.record(own.rows, max_rows, was_shared=own.are_shared)

    def move_back(self, adapters: frozenset[str], absent: Collection[str]) -> None:
        """Move this queue behind all others; not if its first job was passed over, because it keeps its turn."""
        if self._queues[adapters][0].keys.isdisjoint(absent):
            self._queues[adapters] = self._queues.pop(adapters)

    def turns(self, max_rows: int, absent: Collection[str]) -> "Turns":
        """For a batch that may have `max_rows`, and none of whose adapters is `absent`."""
        own_rows = self._ramp.limit(max_rows, waits_alone=len(self._queues) == 1)
        return Turns(self._team, self._queues, own_rows, absent)


class Turns:
    """One walk through a team's jobs: one of each adapter's in turn."""

    def __init__(
        self, team: str, queues: Mapping[frozenset[str], list[Job]], own_rows: int, absent: Collection[str]
    ) -> None:
        """`own_rows` are the most that the team gets."""
        self.team: Final = team
        self.own_rows: Final = own_rows
        self._absent = absent
        self._left = deque((adapters, iter(tuple(jobs))) for adapters, jobs in queues.items())

    def next(self, batch: BatchBuilder | None) -> Job | None:
        """The next job, which was added to the batch where there is one already; None where no other fits."""
        while self._left and (batch is None or batch.has_room_for(self.team)):
            adapters, jobs = self._left.popleft()
            for job in jobs:
                if job.keys.isdisjoint(self._absent) and (batch is None or batch.admit(job, self.own_rows)):
                    self._left.append((adapters, jobs))
                    return job
            if batch is not None:
                batch.cap_busiest_adapter(self.team, adapters)
        return None
