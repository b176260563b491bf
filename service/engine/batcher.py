"""Requests that wait for one base model, and what its worker does next. Knows nothing of torch and of who asks.

Three stations: *admitted* (its inputs are being read, its adapters are coming), *waiting* (ready to run), taken. The
first two count against the queue's limit. Here is the place to join several waiting requests into one batch; for now a
batch is one request.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from models_registry.base_models.spec import Rows
from models_registry.errors import DeadlinePassed, Overloaded, RegistryError
from models_registry.records import AdapterVersion
from service.engine.request import InferAnswer, InferRequest
from service.engine.selection import Selection, distinct_versions


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A request that is ready to run: inputs read, adapters staged and held until `future` is done.

    `rows` is None for text generation, which reads its texts itself. `selections` is one for all, or one per row.
    """

    request: InferRequest
    selections: tuple[Selection, ...]
    rows: Rows | None
    future: Future[InferAnswer]
    admitted_at: float

    @property
    def versions(self) -> tuple[AdapterVersion, ...]:
        return distinct_versions(self.selections)

    def begin(self) -> bool:
        """Whether it may run: its caller still waits and its deadline hasn't passed. Then nobody can cancel it."""
        if not self.future.set_running_or_notify_cancel():
            return False
        if self.request.deadline is not None and time.monotonic() > self.request.deadline:
            self.future.set_exception(DeadlinePassed("The request's deadline passed in the queue; it never ran."))
            return False
        return True


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """Something to do on the model's own thread, between two forwards."""

    function: Callable[[], Any]
    future: Future[Any]


class Batcher:
    def __init__(self, max_queue: int) -> None:
        self._max_queue = max_queue
        self._changed = threading.Condition()
        self._admitted: set[Future[InferAnswer]] = set()
        self._waiting: deque[Job] = deque()
        self._calls: deque[Call] = deque()
        self._closed: RegistryError | None = None

    def admit(self, future: Future[InferAnswer]) -> None:
        """Reserve a place for the request behind `future`, until it is taken or done. Raises `Overloaded`, or what
        `close` was given."""
        with self._changed:
            self._refuse_if_closed()
            if len(self._admitted) >= self._max_queue:
                raise Overloaded(f"{self._max_queue} requests wait for this model already; try again later.")
            self._admitted.add(future)
        future.add_done_callback(self._forget)

    def put(self, job: Job) -> None:
        """Queue an admitted job. Raises what `close` was given."""
        with self._changed:
            self._refuse_if_closed()
            if not job.future.done():
                self._waiting.append(job)
                self._changed.notify()

    def call(self, function: Callable[[], Any]) -> Future[Any]:
        """Run `function` on the worker's thread before any waiting job. Raises what `close` was given."""
        call = Call(function, Future())
        with self._changed:
            self._refuse_if_closed()
            self._calls.append(call)
            self._changed.notify()
        return call.future

    def take(self) -> Job | Call | None:
        """What to do next; blocks while there is nothing. None once closed and empty."""
        with self._changed:
            while True:
                if self._calls:
                    return self._calls.popleft()
                if self._waiting:
                    job = self._waiting.popleft()
                    self._admitted.discard(job.future)
                    return job
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
            self._admitted.discard(future)
            if future.cancelled():
                self._waiting = deque(job for job in self._waiting if job.future is not future)
