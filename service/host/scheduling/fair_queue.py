"""Jobs that wait, in one queue per adapter, and which of them run next: every queue in turn, however long it is.

An adapter with ten times as many requests has a queue ten times as long; the queues of others don't get longer by it.
Nor does a shared forward: once a queue is empty, the busiest adapter gets at most as many rows as all others together.
An adapter that waits alone just after others were there begins with no more rows than their last forward had, because
they may be back before its forward ends. A queue whose adapters are still being loaded is passed over and keeps its
place, so that it is first as soon as they are in memory.
"""

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future
from itertools import zip_longest
from typing import TypeAlias

from service.host.scheduling.job import Job
from service.protocol.types import HostAnswer

QueueKey: TypeAlias = frozenset[str]
"""The adapters that a job names; empty for the base's own queue."""

# Rows are padded to the longest of their batch. At most half of a batch may be padding, except where rows are so short
# that their tokens hardly count.
STRETCH, SHORT = 2, 32

# Below this many rows the fixed cost of a forward dominates.
FEW_ROWS = 4


class FairQueue:
    """In the order in which jobs are served next. Not thread-safe."""

    def __init__(self) -> None:
        self._queues: dict[QueueKey, list[Job]] = {}
        self._most_alone: int | None = None
        """The most rows in the next forward of an adapter that waits alone; None: as many as a forward may have."""

    def __iter__(self) -> Iterator[Job]:
        return (job for jobs in self._queues.values() for job in jobs)

    def __bool__(self) -> bool:
        return bool(self._queues)

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

    def discard(self, key: QueueKey, future: Future[HostAnswer]) -> None:
        """Remove the job that was to answer `future`, if it still waits in this queue."""
        jobs = self._queues.get(key, [])
        if job := next((job for job in jobs if job.future is future), None):
            jobs.remove(job)
            self._close_if_empty(key)

    def take(self, max_rows: int, absent: Collection[str] = ()) -> tuple[Job, ...]:
        """The job whose turn it is, and those that may share its forward: one of each queue in turn, up to `max_rows`.
        A job that is larger by itself, because its rows may belong together, is taken alone. A job that needs an
        `absent` adapter waits; empty where all do."""
        turns = deque((key, iter(tuple(jobs))) for key, jobs in self._queues.items())
        batch: BatchBuilder | None = None
        while turns and (batch is None or batch.has_room):
            key, jobs = turns.popleft()
            for job in jobs:
                if not job.keys.isdisjoint(absent):
                    continue
                if batch is None:
                    batch = BatchBuilder(job, self._limit(max_rows))
                elif not batch.admit(job):
                    continue
                self._move_back(key, absent)
                turns.append((key, jobs))
                break
            else:
                if batch is not None and key in batch.rows_of:
                    batch.cap_dominant_adapter()
        taken = tuple(batch.jobs) if batch else ()
        if batch is not None:
            self._record(batch, max_rows)
        for job in taken:
            self._queues[job.adapters].remove(job)
            self._close_if_empty(job.adapters)
        return taken

    def _limit(self, max_rows: int) -> int:
        if len(self._queues) > 1 or self._most_alone is None:
            return max_rows
        return min(max_rows, self._most_alone)

    def _record(self, batch: "BatchBuilder", max_rows: int) -> None:
        if len(batch.rows_of) > 1:
            self._most_alone = max(batch.rows, FEW_ROWS)
        elif self._most_alone is not None:
            self._most_alone = 2 * self._most_alone if 2 * self._most_alone < max_rows else None

    def _move_back(self, key: QueueKey, absent: Collection[str]) -> None:
        """Move this queue behind all others; not if its first job was passed over, because it keeps its turn."""
        if self._queues[key][0].keys.isdisjoint(absent):
            self._queues[key] = self._queues.pop(key)

    def _close_if_empty(self, key: QueueKey) -> None:
        if not self._queues[key]:
            del self._queues[key]


class BatchBuilder:
    """Jobs that may share a forward with the first of them."""

    def __init__(self, first: Job, max_rows: int) -> None:
        self.jobs = [first]
        self.rows_of = Counter({first.adapters: first.size})
        self._batch_key = first.batch_key
        self._room = max_rows - first.size
        self._shortest = self._longest = first.batch_key.length if first.batch_key else 0

    @property
    def rows(self) -> int:
        return self.rows_of.total()

    @property
    def has_room(self) -> bool:
        return self._batch_key is not None and self._room > 0

    def cap_dominant_adapter(self) -> None:
        """Some queue is empty now: the busiest adapter gets at most as many rows as all others together."""
        if len(self.rows_of) > 1:
            most = max(2 * (self.rows - max(self.rows_of.values())), FEW_ROWS)
            self._room = max(0, min(self._room, most - self.rows))

    def admit(self, job: Job) -> bool:
        """Add the job if it fits. Whether it did."""
        if (
            self._batch_key is None
            or job.batch_key is None
            or job.batch_key.common != self._batch_key.common
            or job.size > self._room
        ):
            return False
        shortest, longest = min(self._shortest, job.batch_key.length), max(self._longest, job.batch_key.length)
        if longest > max(STRETCH * shortest, SHORT):
            return False
        self.jobs.append(job)
        self.rows_of[job.adapters] += job.size
        self._room -= job.size
        self._shortest, self._longest = shortest, longest
        return True
