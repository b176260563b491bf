"""Requests that wait for one base model, and what its worker does next. Knows nothing of torch and of who asks.

Three stations: *admitted* (its inputs are being read, its adapters are coming), *waiting* (ready to run), taken. The
first two count against the queue's limit. What waits when the worker becomes free is taken: nobody waits for company.
"""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from models_registry.errors import Overloaded, RegistryError
from service.engine.job import Job
from service.engine.lines import Lines
from service.engine.request import InferAnswer


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """Something to do on the model's own thread, between two forwards."""

    function: Callable[[], Any]
    future: Future[Any]


class Batcher:
    """`max_queue` bounds the requests that wait, `max_rows` the rows that share a forward."""

    def __init__(self, max_queue: int, max_rows: int) -> None:
        self._max_queue = max_queue
        self._max_rows = max_rows
        self._changed = threading.Condition()
        self._admitted: dict[Future[InferAnswer], Job | None] = {}
        self._waiting = Lines()
        self._calls: deque[Call] = deque()
        self._closed: RegistryError | None = None

    def admit(self, future: Future[InferAnswer]) -> None:
        """Reserve a place for the request behind `future`, until it is taken or done. Raises `Overloaded`, or what
        `close` was given."""
        with self._changed:
            self._refuse_if_closed()
            if len(self._admitted) >= self._max_queue:
                raise Overloaded(f"{self._max_queue} requests wait for this model already; try again later.")
            self._admitted[future] = None
        future.add_done_callback(self._forget)

    def put(self, job: Job) -> None:
        """Queue an admitted job. Raises what `close` was given."""
        with self._changed:
            self._refuse_if_closed()
            if not job.future.done():
                self._admitted[job.future] = job
                self._waiting.add(job)
                self._changed.notify()

    def call(self, function: Callable[[], Any]) -> Future[Any]:
        """Run `function` on the worker's thread before any waiting job. Raises what `close` was given."""
        call = Call(function, Future())
        with self._changed:
            self._refuse_if_closed()
            self._calls.append(call)
            self._changed.notify()
        return call.future

    def take(self) -> tuple[Job, ...] | Call | None:
        """What to do next: a call, or jobs that may share a forward. Blocks while there is nothing; None once closed
        and empty."""
        with self._changed:
            while True:
                if self._calls:
                    return self._calls.popleft()
                if self._waiting:
                    jobs = self._waiting.take(self._max_rows)
                    for job in jobs:
                        self._admitted.pop(job.future, None)
                    return jobs
                if self._closed is not None:
                    return None
                self._changed.wait()

    def close(self, reason: RegistryError) -> None:
        """Take nothing more, answering `reason`; what is queued still runs."""
        with self._changed:
            if self._closed is None:
                self._closed = reason
            self._changed.notify_all()

    def drain(self) -> tuple[Job | Call, ...]:
        """Give up what is queued and return it."""
        with self._changed:
            given_up = (*self._calls, *self._waiting)
            self._calls.clear()
            self._waiting.clear()
            return given_up

    def _refuse_if_closed(self) -> None:
        if self._closed is not None:
            raise type(self._closed)(self._closed.detail)

    def _forget(self, future: Future[InferAnswer]) -> None:
        # Also a cancelled job's tensors must go at once: a caller who gives up and tries again would fill the memory.
        with self._changed:
            if (job := self._admitted.pop(future, None)) is not None:
                self._waiting.discard(job)
