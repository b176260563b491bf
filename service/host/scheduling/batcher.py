"""Requests that wait for one base model, and what its worker does next. Knows neither torch nor callers.

Texts that are written token by token wait in a queue of their own: they share steps, not forwards.

Three stations: *admitted* (its inputs are being read), *waiting* (for its turn, for its adapters), taken. The first two
count against the queue's limit. Jobs that are ready when the worker becomes free are taken: none waits for others.
"""

import threading
from collections import deque
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from typing import Any, Final

from models_registry.errors import Overloaded, RegistryError
from models_registry.records import DEFAULT_TEAM
from service.host.scheduling.batch_builder import FEW_ROWS
from service.host.scheduling.fair_queue import FairQueue
from service.host.scheduling.forward_times import ForwardTimes
from service.host.scheduling.job import Job
from service.host.scheduling.queue_places import QueuePlaces
from service.host.scheduling.request_splitter import cut
from service.protocol.stats import QueueStats
from service.protocol.types import HostAnswer

SHARED_S = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """Something to do on the model's own thread, between two forwards."""

    function: Callable[[], Any]
    future: Future[Any]


class Batcher:
    """`max_queue` bounds the requests that wait (`QueuePlaces`), `max_rows` the rows that share a forward. While
    several teams wait, it is to take no longer than `SHARED_S`."""

    def __init__(self, max_queue: int, max_rows: int) -> None:
        self.max_rows: Final = max_rows
        self.times: Final = ForwardTimes()
        """Of the worker's thread."""
        self._changed = threading.Condition()
        self._wake_requested = False
        self._places = QueuePlaces(max_queue)
        self._waiting = FairQueue(self._shorten)
        self._texts = FairQueue()
        self._calls: deque[Call] = deque()
        self._closed: RegistryError | None = None
        self._refused = 0

    # ---- any thread -----------------------------------------------------------------------------------------

    def admit(self, future: Future[HostAnswer], team: str = DEFAULT_TEAM) -> None:
        """Reserve a place for the request behind `future`, until it is taken or done. Raises `Overloaded`, or what
        `close` was given."""
        with self._changed:
            self._refuse_if_closed()
            try:
                self._places.take(future, team)
            except Overloaded:
                self._refused += 1
                raise
        future.add_done_callback(self._give_place_free)

    def put(self, job: Job) -> None:
        """Queue an admitted job, in parts where it has more rows than a forward may. Raises what `close` was given."""
        parts = cut(job, self.max_rows)
        with self._changed:
            self._refuse_if_closed()
            for part in parts:
                self._queue_of(part).add(part)
            self.wake()
        self._discard_when_done(parts)

    def call(self, function: Callable[[], Any]) -> Future[Any]:
        """Run `function` on the worker's thread before any waiting job. Raises what `close` was given."""
        call = Call(function, Future())
        with self._changed:
            self._refuse_if_closed()
            self._calls.append(call)
            self.wake()
        return call.future

    def wake(self) -> None:
        """Let the worker look again at which jobs are ready."""
        with self._changed:
            self._wake_requested = True
            self._changed.notify_all()

    def fail(self, key: str, error: BaseException) -> None:
        """This adapter can't be loaded: fail the jobs that wait for it."""
        with self._changed:
            failed = self._withdraw(lambda job: key in job.keys)
        _fail_all(failed, lambda _: error)
        self.wake()

    def close(self, reason: RegistryError) -> None:
        """Take nothing more, answering `reason`; what is ready still runs."""
        with self._changed:
            if self._closed is None:
                self._closed = reason
            self.wake()

    def drain(self) -> tuple[Job | Call, ...]:
        """Give up what is queued and return it."""
        with self._changed:
            given_up = (*self._calls, *self._withdraw(lambda _: True))
            self._calls.clear()
            return given_up

    @property
    def stats(self) -> QueueStats:
        with self._changed:
            rows = sum(job.size for queue in (self._waiting, self._texts) for job in queue)
            return QueueStats(len(self._places), rows, self._refused)

    @property
    def closed(self) -> RegistryError | None:
        """Why nothing more is taken."""
        return self._closed

    # ---- the worker's thread --------------------------------------------------------------------------------

    def wait(self, timeout_s: float | None = None) -> bool:
        """Block until there may be something to do, at most for `timeout_s`. False once closed and empty."""
        with self._changed:
            if self._closed is None or self._has_work:
                self._changed.wait_for(lambda: self._wake_requested, timeout_s)
            self._wake_requested = False
            return self._closed is None or self._has_work

    def in_fair_order(self) -> list[frozenset[str]]:
        """The keys that each waiting job needs, in the order of their turns."""
        with self._changed:
            turns = zip_longest(self._waiting.in_fair_order(), self._texts.in_fair_order())
            return [job.keys for turn in turns for job in turn if job is not None]

    def refuse(self, unsatisfiable: Mapping[frozenset[str], RegistryError]) -> None:
        """Fail the jobs whose adapters never fit."""
        with self._changed:
            failed = self._withdraw(lambda job: job.keys in unsatisfiable)
        _fail_all(failed, lambda job: unsatisfiable[job.keys])

    def take(
        self, absent: Callable[[], Collection[str]] = frozenset[str], writing: Collection[str] = ()
    ) -> tuple[Job, ...] | Call | None:
        """What to do next: a call, or jobs that may share a forward, none of whose adapters is `absent`; None where
        every job waits. Once closed, no job waits for an adapter any more. Teams whose texts are being `writing` wait
        for the forward, too."""
        with self._changed:
            if self._calls:
                self._wake_requested = True  # there may be more
                return self._calls.popleft()
        return self._take(self._waiting, self.max_rows, absent, beside=writing) or None

    def take_texts(
        self, room: int, absent: Callable[[], Collection[str]] = frozenset[str], passed_over: Collection[str] = ()
    ) -> tuple[Job, ...]:
        """The texts that begin next, as many as there is `room` for, none of whose adapters is `absent`, and none of
        the teams that are `passed_over`. None before a call that arrived first."""
        with self._changed:
            if not room or self._calls:
                self._wake_requested |= bool(self._texts)  # nothing else says when there is room
                return ()
        return self._take(self._texts, room, absent, passed_over=passed_over)

    # ---- inside ---------------------------------------------------------------------------------------------

    def _take(
        self,
        queue: FairQueue,
        max_rows: int,
        absent: Callable[[], Collection[str]],
        *,
        passed_over: Collection[str] = (),
        beside: Collection[str] = (),
    ) -> tuple[Job, ...]:
        with self._changed:
            # Asked under the lock: a job that is added in between may need adapters that an older answer lacks.
            if jobs := queue.take(max_rows, absent(), passed_over=passed_over, beside=beside):
                self._wake_requested = True  # there may be more
                self._places.give_free(job.whole or job.future for job in jobs)
                return jobs
            if (reason := self._closed) is None or passed_over:
                return ()
            failed = queue.withdraw(lambda _: True)
        _fail_all(failed, lambda _: reason)
        self.wake()
        return ()

    def _shorten(self, first: Job, max_rows: int) -> tuple[tuple[Job, ...], int, int]:
        """What `FairQueue` begins a forward with while several teams wait."""
        within = self.times.rows_within(SHARED_S, first)
        most = max_rows if within is None else min(max_rows, within)
        parts = cut(first, most)
        if len(parts) > 1:
            self._discard_when_done(parts)
        return parts, most, min(FEW_ROWS, self.times.rows_within(0.0, first) or FEW_ROWS)

    def _discard_when_done(self, jobs: Collection[Job]) -> None:
        # A cancelled job's tensors must be freed at once too: a caller who gives up and retries would fill the memory.
        # Nor may a future know its job, or the two would keep each other, and the answer, until garbage is collected.
        for job in jobs:
            job.future.add_done_callback(partial(self._discard, self._queue_of(job), job.team, job.adapters))

    @property
    def _has_work(self) -> bool:
        return bool(self._calls) or bool(self._waiting) or bool(self._texts)

    def _queue_of(self, job: Job) -> FairQueue:
        return self._texts if job.prompts else self._waiting

    def _withdraw(self, meant: Callable[[Job], bool]) -> tuple[Job, ...]:
        return (*self._waiting.withdraw(meant), *self._texts.withdraw(meant))

    def _refuse_if_closed(self) -> None:
        if self._closed is not None:
            raise self._closed.with_traceback(None)  # or it would collect the traceback of every refused caller

    def _give_place_free(self, future: Future[HostAnswer]) -> None:
        with self._changed:
            self._places.give_free([future])

    def _discard(self, queue: FairQueue, team: str, adapters: frozenset[str], future: Future[HostAnswer]) -> None:
        with self._changed:
            queue.discard(team, adapters, future)


def _fail_all(jobs: Collection[Job], reason: Callable[[Job], BaseException]) -> None:
    for job in jobs:
        if job.future.set_running_or_notify_cancel():
            job.future.set_exception(reason(job))
