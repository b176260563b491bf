"""How a request reaches its model's host: resolve its references, hold their versions, hand it over, await."""

import asyncio
import time
from collections.abc import AsyncGenerator, Collection
from concurrent.futures import CancelledError, Future
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial

from models_registry.errors import Damaged, DeadlinePassed, NotFound, RegistryError, Unavailable
from models_registry.records import AdapterVersion
from models_registry.registry import Registry
from service.front.access.caller import current_caller
from service.front.access.names import seen
from service.front.admission.admission import Admission
from service.front.admission.demand import demand_of
from service.front.admission.suspects import Suspects
from service.front.admission.team_admission import Admitted
from service.front.hosts.host_manager import HostManager
from service.front.hosts.hosted_model import HostedModel
from service.front.requests import InferAnswer, InferRequest
from service.front.resolution.adapter_selection import digest_of, exact_choice, select
from service.front.resolution.registry_snapshot import Snapshot, is_there, without
from service.front.services.inference_trace import InferenceTrace, InferenceTracer
from service.front.services.observers import Observers
from service.front.services.rollouts import Rollouts
from service.front.services.streamed_texts import StreamedTexts
from service.front.services.usage_meter import MeteredCall
from service.protocol.errors import HostLost, RequestEndsHost
from service.protocol.types import HostAnswer, InferCall, distinct_versions

LATE = "The request's deadline passed before it was answered."
LOOKING_S = 0.02
RETURN_S = 60.0
"""So long a request waits for its model's host to be there again."""
MOST_ATTEMPTS = 4


class _HostDied(Exception):
    """Under the request `id`, or beside it."""

    def __init__(self, hosted: HostedModel, id: int, loss: HostLost) -> None:
        super().__init__(loss.detail)
        self.hosted = hosted
        self.loss = loss
        self.ran = id in loss.running
        self.ran_alone = loss.running == (id,)


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A request on its way to `hosted`; `alone`, because it may end its host. `streamed` hears its texts."""

    request: InferRequest
    hosted: HostedModel
    alone: bool
    streamed: StreamedTexts | None
    traced: InferenceTrace
    metered: MeteredCall
    admitted: Admitted


class Inference:
    def __init__(
        self,
        registry: Registry,
        snapshot: Snapshot,
        hosts: HostManager,
        admission: Admission,
        observed: Observers,
        rollouts: Rollouts,
    ) -> None:
        self._meter = observed.meter
        self._registry = registry
        self._limits = admission.limits
        self._snapshot = snapshot
        self._hosts = hosts
        self._leases = admission.leases
        self._teams = admission.teams
        self._suspects = Suspects()
        self._tracer = InferenceTracer(observed.tracer)
        self._rollouts = rollouts

    async def infer(self, request: InferRequest, streamed: StreamedTexts | None = None) -> InferAnswer:
        """As `Engine.infer` promises. Texts that were `streamed` in part are not begun again: `HostLost`."""
        with self._meter.call(current_caller(), self._known(request.model)) as metered:
            return await self._answered(request, streamed, metered)

    async def _answered(
        self, request: InferRequest, streamed: StreamedTexts | None, metered: MeteredCall
    ) -> InferAnswer:
        self._limits.require_few_rows(_entries(request))
        with self._teams.admit(current_caller().team, demand_of(request)) as admitted:
            return await self._try(request, streamed, metered, admitted)

    async def _try(
        self, request: InferRequest, streamed: StreamedTexts | None, metered: MeteredCall, admitted: Admitted
    ) -> InferAnswer:
        """Once more after each death of its host, as often as it may be."""
        suspected = self._suspects.suspects(request)
        for _ in range(MOST_ATTEMPTS):
            hosted = self._hosts.find(request.model)
            try:
                with self._tracer.attempt(request.model) as traced:
                    answer = await self._attempt(
                        _Attempt(request, hosted, suspected, streamed, traced, metered, admitted)
                    )
                    traced.answered(answer)
            except _HostDied as died:
                suspected |= self._judge(request, died)
                if streamed is not None and streamed.has_begun:
                    raise died.loss from died
                await self._until_it_is_back(request, died.hosted)
            else:
                if suspected:
                    self._suspects.acquit(request)
                return answer
        raise Unavailable(f"The process of the base model {request.model!r} keeps ending; try again later.")

    @asynccontextmanager
    async def stream(self, request: InferRequest) -> AsyncGenerator[StreamedTexts]:
        """As `Engine.stream` promises."""
        streamed = StreamedTexts()
        answering = asyncio.create_task(self.infer(request, streamed))
        streamed.follow(answering)
        try:
            await streamed.wait()
            yield streamed
        finally:
            answering.cancel()
            await asyncio.wait([answering])
            if not answering.cancelled():
                answering.exception()  # a caller who disconnected doesn't ask for it

    def _judge(self, request: InferRequest, died: "_HostDied") -> bool:
        """Whether it may be to blame. Raises `RequestEndsHost` if it is, and `HostLost` if it ran alone for the first
        time: whether it ends the host again is for its caller to find out."""
        if not died.ran:
            return False
        self._suspects.strike(request, died.loss.host or died.hosted.life)
        if died.ran_alone:
            raise died.loss
        return True

    def _judge_left(self, request: InferRequest, hosted: HostedModel, id: int, future: Future[HostAnswer]) -> None:
        """Its caller doesn't wait any more, but the host may have died under it."""
        with suppress(CancelledError, RequestEndsHost):
            error = future.exception()
            if isinstance(error, HostLost) and id in error.running:
                self._suspects.strike(request, error.host or hosted.life)

    async def _until_it_is_back(self, request: InferRequest, died: HostedModel) -> None:
        """At once where others of its model's processes go on. Raises `DeadlinePassed`; returns where it takes longer
        than anybody waits."""
        if not died.host.lost.done():
            return
        until = time.monotonic() + RETURN_S
        while time.monotonic() < until:
            place = self._hosts.place(request.model)
            if place.state != "restarting" and place.hosted is not died:
                return
            if request.deadline is not None and time.monotonic() > request.deadline:
                raise DeadlinePassed(LATE)
            await asyncio.sleep(LOOKING_S)

    async def _attempt(self, attempt: _Attempt) -> InferAnswer:
        request, hosted = attempt.request, attempt.hosted
        begun = time.monotonic()
        id, future, versions = self._hand_over(attempt)
        try:
            answer = await _answer(future, request.deadline)
        except HostLost as error:
            raise _HostDied(hosted, id, error) from error
        except DeadlinePassed:
            hosted.expired += 1
            self._leave(attempt, id, future)
            raise
        except asyncio.CancelledError:  # the caller disconnected
            self._leave(attempt, id, future)
            raise
        except Damaged as error:
            raise await asyncio.to_thread(self._note_damage, error, versions) from error
        if any(self._registry.damage.is_doubted(version) for version in versions):
            await asyncio.to_thread(self._note_soundness, versions)
        return _answer_of(hosted, request.model, answer, (time.monotonic() - begun) * 1000)

    def _leave(self, attempt: _Attempt, id: int, future: Future[HostAnswer]) -> None:
        attempt.hosted.host.cancel(id)
        future.add_done_callback(partial(self._judge_left, attempt.request, attempt.hosted, id))

    def drop_gone(self) -> None:
        """Evict the versions that the snapshot no longer has, once no request uses them."""
        self._leases.wait_for_admissions()  # whatever resolved in an older view has been handed over by now
        view = self._snapshot.view
        for hosted in self._hosts.all_hosted():
            hosted.forget([version for version in hosted.known if not is_there(view, version)])

    def _hand_over(self, attempt: _Attempt) -> tuple[int, Future[HostAnswer], tuple[AdapterVersion, ...]]:
        request, hosted, streamed = attempt.request, attempt.hosted, attempt.streamed
        with self._leases.admission() as removed:
            caller = current_caller()
            if not caller.may_use(request.model):
                raise NotFound(f"There is no base model {request.model!r}.")
            with attempt.traced.resolving():
                view = seen(without(self._snapshot.view, removed))
                selections = select(view, request.model, request.adapters, request.routing_key)
            versions = distinct_versions(selections)
            call = InferCall(
                request.inputs,
                request.outputs,
                request.parameters,
                request.chat,
                per_row=isinstance(request.adapters, tuple),
                remaining_s=_remaining(request.deadline),
                alone=attempt.alone,
                team=caller.team,
            )
            if streamed is not None:
                streamed.begin(selections, hosted.built.call_form)
            id, future = hosted.infer(call, selections, attempt.traced.watch(streamed and streamed.hear))
            self._leases.acquire(future, versions)
            attempt.metered.follow(selections, future)
            attempt.admitted.follow(future)
            self._rollouts.follow(view, request, hosted, call, selections, future)
        return id, future, versions

    def _known(self, model: str) -> str:
        """The name, if the caller may know that there is such a model."""
        return model if self._hosts.knows(model) and current_caller().may_use(model) else ""

    def _note_damage(self, error: Damaged, versions: Collection[AdapterVersion]) -> RegistryError:
        damaged = next((version for version in versions if version.digest == error.digest), None)
        return error if damaged is None else self._registry.damage.note_damage(damaged, error)

    def _note_soundness(self, versions: Collection[AdapterVersion]) -> None:
        for version in versions:
            self._registry.damage.note_soundness(version)


def _entries(request: InferRequest) -> int:
    """How many rows its texts, or its list of adapters, say that it has."""
    entries = len(request.adapters) if isinstance(request.adapters, tuple) else 0
    return max(request.inputs.count if request.inputs.has_text else 0, entries)


async def _answer(future: Future[HostAnswer], deadline: float | None) -> HostAnswer:
    waiting = asyncio.timeout(_remaining(deadline))
    try:
        async with waiting:
            return await asyncio.wrap_future(future)
    except TimeoutError as error:
        if waiting.expired():
            raise DeadlinePassed(LATE) from error
        raise


def _answer_of(hosted: HostedModel, model: str, answer: HostAnswer, took_ms: float) -> InferAnswer:
    return InferAnswer(
        model=model,
        adapter=tuple(map(exact_choice, answer.selections)),
        digest=tuple(map(digest_of, answer.selections)),
        outputs=answer.outputs,
        texts=answer.texts,
        call_form=hosted.built.call_form,
        queue_ms=answer.queue_ms,
        load_ms=answer.load_ms,
        forward_ms=answer.forward_ms,
        hop_ms=max(0.0, took_ms - answer.queue_ms - answer.load_ms - answer.forward_ms),
    )


def _remaining(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())
