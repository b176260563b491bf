"""How a request reaches its model's worker: resolve, hold and begin to fetch; read beside the event loop, queue, await.

From admission on, the request's future is its life: whatever ends it (an answer, an error, a caller who left, the
service's end) lets go of its adapters and its place in the queue.
"""

import asyncio
import threading
import time
from collections.abc import Awaitable, Collection, Generator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TypeAlias, TypeVar

from models_registry.base_models.spec import Rows
from models_registry.errors import Conflict, DeadlinePassed, Invalid, RowsNotIndependent, Unavailable
from models_registry.injection.probing.coverage import PROBED_ROWS
from models_registry.records import AdapterVersion, Fault
from service.front.hosts.host_manager import HostManager
from service.front.requests import EngineLimits, InferAnswer, InferRequest
from service.front.resolution.adapter_selection import Selection, check_heads, distinct_versions, select
from service.front.resolution.registry_snapshot import Snapshot, is_there, without
from service.host.execution.collate import distinct_rows, rows_at
from service.host.execution.model_runner import check_selections
from service.host.model_host import HostedModel
from service.host.scheduling.job import Job, Kind

SHORT_ROWS, SHORT_CHARACTERS, SHORT_BYTES = 16, 1024, 1 << 18

T = TypeVar("T")
Read: TypeAlias = tuple[InferRequest, Rows | None, Kind | None]


class Inference:
    def __init__(self, snapshot: Snapshot, hosting: HostManager, readers: Executor, limits: EngineLimits) -> None:
        self._limits = limits
        self._snapshot = snapshot
        self._hosting = hosting
        self._readers = readers
        self._admission = threading.Lock()
        self._in_flight: dict[Future[InferAnswer], tuple[AdapterVersion, ...]] = {}
        self._leaving: list[str] = []
        self.stopping = False

    async def infer(self, request: InferRequest) -> InferAnswer:
        """As `Engine.infer` promises."""
        hosted = self._hosting.find(request.model)
        future: Future[InferAnswer] = Future()
        left = threading.Event()
        admitted_at = time.monotonic()
        try:
            self._require_few_rows(max(len(request.inputs.texts), len(request.inputs.chats), _entries(request)))
            selections = self._admit(request, hosted, future)
            prepared, rows, kind = await self._read(request, hosted, selections)
            divisible = await self._divide(prepared, hosted, rows)
            if divisible and kind is None and rows is not None:
                # What was shown meanwhile may also say with whom it can share a forward.
                kind = hosted.joining.kind(prepared, selections, rows)
            hosted.batcher.put(Job(prepared, selections, rows, future, admitted_at, kind, None, left, divisible))
            return await _answer(future, request.deadline)
        except DeadlinePassed:
            hosted.batcher.note_expired()
            raise
        finally:
            # An error on the way, or a caller who left. Once it runs nobody can cancel it, but it may end early.
            future.cancel()
            left.set()

    @contextmanager
    def none_holds(self, leaving: str, patience_s: float = 0.0) -> Generator[None]:
        """Nobody holds the adapter (`tone`) or the version (`tone@3`) and nobody gets hold of it inside the `with`: new
        requests are answered as if it were gone. Raises `Conflict` while it is in use, or if it still is after
        `patience_s`."""
        with self._admission:
            holders = self._holders(leaving)
            if holders and not patience_s:
                raise Conflict(f"{leaving!r} is in use by {len(holders)} requests; try again when they are done.")
            self._leaving.append(leaving)
        try:
            if running := _still_running(holders, patience_s):
                raise Conflict(
                    f"{leaving!r} is still in use by {running} requests after {patience_s:g} s; nothing was changed. "
                    "Try again when they are done."
                )
            yield
        finally:
            with self._admission:
                self._leaving.remove(leaving)

    def drop_gone(self) -> None:
        """Have the versions that the snapshot no longer has leave memory, once nobody holds them."""
        with self._admission:  # whoever resolved in an older view holds its versions by now
            view = self._snapshot.view
        for hosted in self._hosting.all_hosted():
            hosted.drop_gone(lambda version: not is_there(view, version))

    def refuse(self) -> None:
        """Admit nothing more, answering `Unavailable`."""
        with self._admission:
            self.stopping = True

    def wait(self, timeout_s: float) -> None:
        """Return when every admitted request is done, or after `timeout_s`."""
        with self._admission:
            in_flight = self._in_flight.copy()
        _still_running(in_flight, timeout_s)

    # ---- the stations of a request --------------------------------------------------------------------------

    def _admit(self, request: InferRequest, hosted: HostedModel, future: Future[InferAnswer]) -> tuple[Selection, ...]:
        # Resolving a reference and holding what it means is one step, so that no deletion falls in between.
        with self._admission:
            if self.stopping:
                raise Unavailable("The service is shutting down; ask another instance.")
            hosted.batcher.admit(future)
            selections = select(without(self._snapshot.view, self._leaving), request.model, request.adapters)
            versions = distinct_versions(selections)
            hosted.adapters.acquire(versions)
            self._in_flight[future] = versions
        future.add_done_callback(self._in_flight.pop)
        future.add_done_callback(lambda _: hosted.adapters.release(versions))
        hosted.adapters.prefetch(versions)
        return selections

    async def _read(self, request: InferRequest, hosted: HostedModel, selections: tuple[Selection, ...]) -> Read:
        # Onto another device, inputs are copied when it is free, for which the event loop must not wait.
        if _is_short(request) and hosted.device == "cpu":
            return _read(request, hosted, selections)
        loop = asyncio.get_running_loop()
        return await _within(request.deadline, loop.run_in_executor(self._readers, _read, request, hosted, selections))

    async def _divide(self, request: InferRequest, hosted: HostedModel, rows: Rows | None) -> bool:
        """Whether it may be cut into parts. Raises `Invalid` for more rows than a request may have, and
        `RowsNotIndependent` for more than one forward takes where each might depend on the others."""
        many = self._limits.max_batch_rows
        joining = hosted.joining
        if rows is None or rows.count is None or rows.count <= many:
            return joining.divides(request, rows)
        if joining.is_unproven(rows):
            some = rows_at(rows, distinct_rows(rows, PROBED_ROWS, many))
            learning = asyncio.wrap_future(hosted.batcher.call(partial(joining.learn, some)))
            await _within(request.deadline, learning)
        if not joining.has_rows(request, rows):
            return False
        self._require_few_rows(rows.count)
        if not joining.divides(request, rows):
            raise RowsNotIndependent(
                f"The request has {rows.count} rows, more than the {many} that one forward takes, and the model's rows "
                f"are not known to be independent of each other; send at most {many}, or ask only for outputs that are."
            )
        return True

    def _require_few_rows(self, count: int) -> None:
        if count > self._limits.max_request_rows:
            message = f"The request has {count} rows; at most {self._limits.max_request_rows} are taken. Send several."
            raise Invalid(message, [Fault(("inputs",), message)])

    def _holders(self, name: str) -> list[Future[InferAnswer]]:
        """The requests that hold the adapter or the version of that name."""
        in_flight = self._in_flight.copy()  # in one go: who is done leaves without asking
        return [future for future, held in in_flight.items() if any(name in {v.adapter, v.reference} for v in held)]


def _still_running(futures: Collection[Future[InferAnswer]], patience_s: float) -> int:
    """How many are not done after `patience_s`. To `concurrent.futures.wait` one whose caller has left would be done
    only when the batcher comes upon it."""
    done = threading.Semaphore(0)
    for future in futures:
        future.add_done_callback(lambda _: done.release())
    until = time.monotonic() + patience_s
    return sum(not done.acquire(timeout=max(0.0, until - time.monotonic())) for _ in futures)


def _entries(request: InferRequest) -> int:
    """How many rows its list of adapters says that it has."""
    return len(request.adapters) if isinstance(request.adapters, tuple) else 0


def _is_short(request: InferRequest) -> bool:
    """Whether reading the inputs takes less time than a trip to a thread and back."""
    if request.parameters is not None or request.chat or request.inputs.chats:
        return False
    characters = sum(map(len, request.inputs.texts))
    return (
        len(request.inputs.texts) <= SHORT_ROWS
        and characters <= SHORT_CHARACTERS
        and sum(x.nbytes for x in request.inputs.tensors.values()) <= SHORT_BYTES
    )


def _read(request: InferRequest, hosted: HostedModel, selections: tuple[Selection, ...]) -> Read:
    request = _prepared(request, hosted)
    # Texts that are to be continued are read by the spec itself.
    generates = request.parameters is not None
    rows = None if generates else hosted.spec.read(hosted.adapted.module, request.inputs)
    count = len(request.inputs.texts) if rows is None else rows.count
    check_selections(request.adapters, selections, count)
    check_heads(hosted.adapted.architecture, selections)
    return request, rows, hosted.joining.kind(request, selections, rows)


def _prepared(request: InferRequest, hosted: HostedModel) -> InferRequest:
    """With its chats as texts, and with the outputs that it gets where it names none."""
    inputs = hosted.spec.prepare(request.inputs, request.chat, request.parameters)
    outputs = request.outputs
    if request.parameters is not None:
        if unknown := [name for name in outputs or () if name != "text"]:
            faults = [Fault(("outputs", name), "doesn't exist; with parameters there is text") for name in unknown]
            raise Invalid("The model doesn't give every output that was asked for.", faults)
    elif outputs is None:
        outputs = hosted.joining.default_outputs(inputs)
    return replace(request, inputs=inputs, outputs=outputs)


async def _answer(future: Future[InferAnswer], deadline: float | None) -> InferAnswer:
    answer = asyncio.wrap_future(future)
    if deadline is not None:
        await asyncio.wait([answer], timeout=_remaining(deadline))
        if future.cancel():
            raise DeadlinePassed("The request's deadline passed in the queue; it never ran.")
    return await answer


async def _within(deadline: float | None, work: Awaitable[T]) -> T:
    """What `work` gives before the request's deadline. Raises `DeadlinePassed`."""
    waiting = asyncio.timeout(_remaining(deadline))
    try:
        async with waiting:
            return await work
    except TimeoutError as error:
        if waiting.expired():
            raise DeadlinePassed("The request's deadline passed before it could run; it never ran.") from error
        raise


def _remaining(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())
