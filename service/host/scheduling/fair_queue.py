"""Jobs that wait, in one queue per team, and which run next: the teams take turns, and within each team its adapters.

A team with ten times as many requests has a queue ten times as long; the queues of others don't get longer by it. Nor
does a shared forward: once a team has no more to add, the busiest gets at most as many rows as all others together. A
team that waits alone just after others were there begins with few rows (`Ramp`).
"""

from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future
from itertools import zip_longest
from typing import TypeAlias

from service.host.scheduling.batch_builder import FEW_ROWS, BatchBuilder
from service.host.scheduling.job import Job
from service.host.scheduling.ramp import Ramp
from service.host.scheduling.team_queue import TeamQueue
from service.protocol.types import HostAnswer

Shorten: TypeAlias = Callable[[Job, int], tuple[Sequence[Job], int, int]]
"""From the job that begins a forward while several teams wait, and the most rows that this may have: the parts that the
job is cut into, or itself, the most rows that it has then, and how many are never too many."""


class FairQueue:
    """In the order in which jobs are served next. Not thread-safe."""

    def __init__(self, shorten: Shorten = lambda job, max_rows: ((job,), max_rows, FEW_ROWS)) -> None:
        self._shorten = shorten
        self._teams: dict[str, TeamQueue] = {}
        self._ramp = Ramp()

    def __iter__(self) -> Iterator[Job]:
        return (job for queue in self._teams.values() for job in queue)

    def __bool__(self) -> bool:
        return any(self._teams.values())

    def in_fair_order(self) -> Iterator[Job]:
        """All jobs in the order of their turns: the first of each team, then the second of each."""
        turns = zip_longest(*(queue.in_fair_order() for queue in self._teams.values()))
        return (job for turn in turns for job in turn if job is not None)

    def add(self, job: Job) -> None:
        queue = self._teams.setdefault(job.team, TeamQueue(job.team))
        if not queue:  # others wait already
            self._teams[job.team] = self._teams.pop(job.team)
        queue.add(job)

    def withdraw(self, meant: Callable[[Job], bool]) -> tuple[Job, ...]:
        """Remove the jobs that are `meant`, and return them."""
        withdrawn = tuple(job for queue in self._teams.values() for job in queue.withdraw(meant))
        self._forget_idle()
        return withdrawn

    def discard(self, team: str, adapters: frozenset[str], future: Future[HostAnswer]) -> None:
        """Remove the team's job that was to answer `future`, if it still waits for these adapters' turn."""
        if queue := self._teams.get(team):
            queue.discard(adapters, future)
            self._forget_idle()

    def take(
        self,
        max_rows: int,
        absent: Collection[str] = (),
        *,
        passed_over: Collection[str] = (),
        beside: Collection[str] = (),
    ) -> tuple[Job, ...]:
        """The job whose turn it is, and those that may share its forward: one of each team in turn, up to `max_rows`.
        A job that is larger by itself, because its rows may belong together, is taken alone. A job that needs an
        `absent` adapter waits; empty where all do. Teams that are `passed_over` have no turn; those `beside` this
        queue wait, too, for what other queues hold."""
        waiting = [team for team, queue in self._teams.items() if queue]
        are_several = len({*waiting, *beside}) > 1
        limit = self._ramp.limit(max_rows, waits_alone=not are_several)
        turns = deque(self._teams[team].turns(limit, absent) for team in waiting if team not in passed_over)
        batch: BatchBuilder | None = None
        while turns and (batch is None or batch.has_room):
            own = turns.popleft()
            job = own.next(batch)
            if job is None:
                if batch is not None:
                    batch.teams.cap_busiest(own.team)
                continue
            if batch is None:
                batch = self._begin(job, limit, own.own_rows, is_short=are_several)
            self._move_back(job, absent)
            turns.append(own)
        taken = tuple(batch.jobs) if batch else ()
        if batch is not None:
            self._record(batch, max_rows)
        for job in taken:
            self._teams[job.team].remove(job)
        self._forget_idle()
        return taken

    def _begin(self, first: Job, max_rows: int, own_rows: int, *, is_short: bool) -> BatchBuilder:
        if not is_short:
            return BatchBuilder(first, max_rows, own_rows)
        parts, max_rows, few_rows = self._shorten(first, max_rows)
        self._teams[first.team].replace(first, parts)
        return BatchBuilder(parts[0], max_rows, own_rows, few_rows)

    def _record(self, batch: BatchBuilder, max_rows: int) -> None:
        teams = batch.teams
        self._ramp.record(teams.rows, max_rows, was_shared=teams.are_shared, few_rows=teams.few_rows)
        for team in batch.adapters:
            self._teams[team].record(batch, max_rows)

    def _move_back(self, job: Job, absent: Collection[str]) -> None:
        """Move its team behind all others, and its adapters behind the team's others."""
        queue = self._teams[job.team] = self._teams.pop(job.team)
        queue.move_back(job.adapters, absent)

    def _forget_idle(self) -> None:
        for team in [team for team, queue in self._teams.items() if queue.is_forgettable]:
            del self._teams[team]
