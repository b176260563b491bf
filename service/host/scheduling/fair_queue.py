"""Jobs that wait, in one line per adapter, and who of them runs next: every line in turn, however long it is.

A caller who sends ten times as much waits in a line ten times as long; nobody else's gets longer by it. Nor does the
forward that they share: once somebody's line is empty, who has most may at most double what it is without him; and one
who waits alone just after others were there begins with no more rows than that forward had, for they may be back before
he is through. A line whose adapters are still on their way is passed over and keeps its place, so that it is first as
soon as they come.
"""

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future
from itertools import zip_longest
from typing import TypeAlias

from service.host.scheduling.job import Job
from service.protocol.types import HostAnswer

QueueKey: TypeAlias = frozenset[str]
"""The adapters that a job names; empty for the base's own line."""

# Rows are padded to the longest of their batch. At most half of a batch may be padding, except where rows are so short
# that their tokens hardly count.
STRETCH, SHORT = 2, 32

# What a forward costs whatever its rows would be paid too often with fewer.
FEW_ROWS = 4


class FairQueue:
    """In the order in which they are served next. Not for several threads."""

    def __init__(self) -> None:
        self._lines: dict[QueueKey, list[Job]] = {}
        self._most_alone: int | None = None
        """Rows of the next forward of one who waits alone; None: as many as may be."""

    def __iter__(self) -> Iterator[Job]:
        return (job for line in self._lines.values() for job in line)

    def __bool__(self) -> bool:
        return bool(self._lines)

    def turns(self) -> Iterator[Job]:
        """Everyone in the order of their turns: the first of each line, then the second of each."""
        return (job for turn in zip_longest(*self._lines.values()) for job in turn if job is not None)

    def add(self, job: Job) -> None:
        self._lines.setdefault(job.adapters, []).append(job)

    def withdraw(self, meant: Callable[[Job], bool]) -> tuple[Job, ...]:
        """Those that are meant leave without a turn."""
        withdrawn = tuple(job for job in self if meant(job))
        lines = ((line, [job for job in jobs if not meant(job)]) for line, jobs in self._lines.items())
        self._lines = {line: jobs for line, jobs in lines if jobs}
        return withdrawn

    def discard(self, line: QueueKey, future: Future[HostAnswer]) -> None:
        """The job that was to give `future` its answer, if it still waits in this line."""
        jobs = self._lines.get(line, [])
        if job := next((job for job in jobs if job.future is future), None):
            jobs.remove(job)
            self._close_if_empty(line)

    def take(self, max_rows: int, absent: Collection[str] = ()) -> tuple[Job, ...]:
        """The job whose turn it is, and those that may share its forward: one of each line in turn, up to `max_rows`.
        One that is larger by itself, since its rows may belong together, comes alone. Whose adapters are `absent`
        waits; empty where all do."""
        turns = deque((line, iter(tuple(jobs))) for line, jobs in self._lines.items())
        company: BatchBuilder | None = None
        while turns and (company is None or company.has_room):
            line, jobs = turns.popleft()
            for job in jobs:
                if not job.keys.isdisjoint(absent):
                    continue
                if company is None:
                    company = BatchBuilder(job, self._limit(max_rows))
                elif not company.admit(job):
                    continue
                self._serve(line, absent)
                turns.append((line, jobs))
                break
            else:
                if company is not None and line in company.lines:
                    company.cap_dominant_adapter()
        taken = tuple(company.jobs) if company else ()
        if company is not None:
            self._note(company, max_rows)
        for job in taken:
            self._lines[job.adapters].remove(job)
            self._close_if_empty(job.adapters)
        return taken

    def _limit(self, max_rows: int) -> int:
        if len(self._lines) > 1 or self._most_alone is None:
            return max_rows
        return min(max_rows, self._most_alone)

    def _note(self, company: "BatchBuilder", max_rows: int) -> None:
        if len(company.lines) > 1:
            self._most_alone = max(company.rows, FEW_ROWS)
        elif self._most_alone is not None:
            self._most_alone = 2 * self._most_alone if 2 * self._most_alone < max_rows else None

    def _serve(self, line: QueueKey, absent: Collection[str]) -> None:
        """It is its turn again after all others'; not if its first job was passed over, whose turn it still is."""
        if self._lines[line][0].keys.isdisjoint(absent):
            self._lines[line] = self._lines.pop(line)

    def _close_if_empty(self, line: QueueKey) -> None:
        if not self._lines[line]:
            del self._lines[line]


class BatchBuilder:
    """Jobs that may share a forward with the first of them."""

    def __init__(self, first: Job, max_rows: int) -> None:
        self.jobs = [first]
        self.lines = Counter({first.adapters: first.size})
        self._batch_key = first.batch_key
        self._room = max_rows - first.size
        self._shortest = self._longest = first.batch_key.length if first.batch_key else 0

    @property
    def rows(self) -> int:
        return self.lines.total()

    @property
    def has_room(self) -> bool:
        return self._batch_key is not None and self._room > 0

    def cap_dominant_adapter(self) -> None:
        """Some have all they asked for in this forward: who has most may at most double what it is without him."""
        if len(self.lines) > 1:
            most = max(2 * (self.rows - max(self.lines.values())), FEW_ROWS)
            self._room = max(0, min(self._room, most - self.rows))

    def admit(self, job: Job) -> bool:
        """Take it in, if it fits."""
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
        self.lines[job.adapters] += job.size
        self._room -= job.size
        self._shortest, self._longest = shortest, longest
        return True
