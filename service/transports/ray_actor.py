"""A base model whose hosts are replicas of a Ray Serve deployment, as a front speaks to it.

A front's view has no process: one replica's end is its requests' matter alone, and Serve replaces it. What had not
begun there is asked of another replica; what had begun is `HostLost`. Only where no replica is there for long is the
view itself lost, as a process on one machine is; the one that follows it waits for a replica.
"""

import asyncio
import threading
from collections.abc import Collection, Coroutine, Mapping
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

from ray.exceptions import RayActorError
from ray.serve.exceptions import DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from models_registry.errors import Conflict, RegistryError, Unavailable
from models_registry.records import AdapterVersion
from service.protocol.errors import HostLost
from service.protocol.host import ModelHost, Transport
from service.protocol.replicas import Done
from service.protocol.texts import OnPart
from service.protocol.types import (
    BuildOrder,
    Built,
    FreshWeights,
    HostAnswer,
    HostLoss,
    HostStatus,
    InferCall,
    Merged,
    MergeOrder,
    ModelProfile,
    Selection,
    Tensors,
    Work,
)
from service.transports.joined_status import joined_status
from service.transports.loop_thread import LoopThread
from service.transports.ray_pins import PinKeeper
from service.transports.ray_replicas import Replicas
from service.transports.ray_watch import ReplicaWatch

T = TypeVar("T")

PAUSE_S = 0.2
"""Between looks whether all requests have ended."""
STATUS_S = 5.0
"""A replica that doesn't answer for so long is left out of a status."""
CANCEL_S = 10.0
"""So long a cancelled request's answer, which says what it took, is waited for."""
ABSENT = "no replica was there"


class RayActors:
    """Constructing it starts a thread. `deployer` makes Serve's applications what the registry says; `beside` starts
    hosts on this machine, for merges and for checks of sources."""

    parallel_loads = 32
    """A front only waits for builds."""

    def __init__(self, deployer: DeploymentHandle[Any], beside: Transport) -> None:
        self._deployer = deployer
        self._beside = beside
        self._calls = LoopThread("calls to replicas")

    def start(self, name: str) -> ModelHost:
        return RayActorHost(name, self._deployer, self._beside, self._calls)

    def close(self) -> None:
        self._calls.stop()
        self._beside.close()


class RayActorHost:
    """See `protocol.host.ModelHost`. `model` is the base model's id."""

    def __init__(self, model: str, deployer: DeploymentHandle[Any], beside: Transport, calls: LoopThread) -> None:
        self._model = model
        self._deployer = deployer
        self._beside = beside
        self._calls = calls
        self._replicas = Replicas(model)
        self._pins = PinKeeper(self._replicas)
        self._watch = ReplicaWatch(model, self._replicas, self._pins, self._lose)
        self._watching: Future[None] | None = None
        self._changing = threading.Lock()
        self._waiting: dict[Future[Any], Future[Any]] = {}
        """What callers wait for, with what makes it."""
        self._inferring: dict[int, Future[Any]] = {}
        self._reason: RegistryError | None = None
        self._lost: Future[HostLoss] = Future()

    @property
    def lost(self) -> Future[HostLoss]:
        return self._lost

    @property
    def process(self) -> None:
        """Its replicas have some, on other machines."""
        return

    @property
    def work(self) -> Work | None:
        """Each replica watches its own."""
        return None

    # ---- building -----------------------------------------------------------------------------------------------

    def open(self, order: BuildOrder) -> Future[None]:
        if order.base.fingerprint is not None:  # it was built before, from this source
            return _done(None)
        checking = self._beside.start(self._model)
        opened = checking.open(order)
        opened.add_done_callback(lambda _: checking.end(Unavailable("The check is over.")))
        return opened

    def build(self) -> Future[Built]:
        async def find() -> Built:
            application = await self._deployer.application.remote(self._model)
            if application is None:
                raise Conflict(f"The base model {self._model!r} was unloaded; load it first.")
            self._replicas.open(application)
            built: Built = await self._replicas.one("built")
            self._watching = self._calls.run(self._watch.run())
            return built

        return self._begin(find())

    def profile(self) -> Future[ModelProfile]:
        return self._begin(self._replicas.one("profile"))

    # ---- inference ----------------------------------------------------------------------------------------------

    def infer(
        self, id: int, call: InferCall, selections: tuple[Selection, ...], on_part: OnPart | None = None
    ) -> Future[HostAnswer]:
        future = self._begin(self._replicas.infer(id, call, selections, on_part))
        self._inferring[id] = future
        future.add_done_callback(lambda _: self._inferring.pop(id, None))
        return future

    def cancel(self, id: int) -> None:
        self._calls.run(self._cancel(id))

    async def _cancel(self, id: int) -> None:
        future = self._inferring.get(id)
        told = await self._replicas.all("cancel", self._replicas.front, id)
        await asyncio.sleep(CANCEL_S if told else 0.0)
        if future is not None and (made := self._waiting.get(future)) is not None:
            made.cancel()

    # ---- adapters -----------------------------------------------------------------------------------------------

    def prepare(self, version: AdapterVersion) -> Future[None]:
        return self._begin(self._replicas.one("prepare", version))

    def attach(self, version: AdapterVersion) -> Future[None]:
        return self._begin(self._replicas.one("attach", version))

    def load(self, version: AdapterVersion, pin: bool, replicas: int | None = None) -> Future[None]:
        return self._begin(self._pins.load(version, pin, replicas))

    def unload(self, keys: Collection[str]) -> Future[bool]:
        async def unload() -> bool:
            said = await self._replicas.all("unload", tuple(keys))
            return all(map(self._replicas.value_of, said))

        return self._begin(unload())

    def forget(self, keys: Collection[str]) -> None:
        self._replicas.unlearn(keys)
        self._calls.run(self._replicas.all("forget", tuple(keys)))

    def initial_weights(self, id: int, fresh: FreshWeights) -> Future[Tensors]:
        return self._begin(self._replicas.one("initial_weights", self._replicas.front, id, fresh))

    def merge(self, id: int, order: MergeOrder) -> Future[Merged]:
        """On this machine, in a process of its own."""
        merging = self._beside.start(self._model)
        merged = merging.merge(id, order)
        merged.add_done_callback(lambda _: merging.end(Unavailable("The merge is over.")))
        return merged

    def status(self, keys: Collection[str] = ()) -> Future[HostStatus]:
        async def look() -> HostStatus:
            said = await asyncio.wait_for(self._replicas.all("status", tuple(keys)), STATUS_S)
            statuses = [one.value for one in said if isinstance(one, Done)]
            if not statuses:
                raise Unavailable(f"The base model {self._model!r} has no replica at this moment.")
            return joined_status(statuses)

        return self._begin(look())

    def share(self, models: int) -> None:
        """Each replica sees itself who else is on its machine."""

    def share_resident(self, shares: Mapping[str, float]) -> None:
        self._calls.run(self._pins.share(dict(shares)))

    # ---- the end of this front's view ---------------------------------------------------------------------------

    def give_up(self, reason: RegistryError) -> None:
        with self._changing:
            waiting = self._waiting.copy()
            self._waiting.clear()
        for future, made in waiting.items():
            made.cancel()
            future.set_exception(reason)

    def close(self, reason: RegistryError) -> Future[None]:
        """Waits for this front's requests, then for the deployer, which drains the replicas where the registry says
        that they are to end."""
        self._leave(reason)

        async def finish() -> None:
            while self._waiting:
                await asyncio.sleep(PAUSE_S)
            await self._deployer.settle.remote(self._model)

        return self._calls.run(finish())

    def kill(self, reason: str) -> None:
        self._lost.set_result(HostLoss(reason))  # first, so that callers find the model restarting
        self.end(HostLost(self._model, reason))

    def end(self, reason: RegistryError) -> bool:
        self._leave(reason)
        self.give_up(reason)
        return True

    # ---- inside -------------------------------------------------------------------------------------------------

    def _leave(self, reason: RegistryError) -> None:
        self._reason = self._reason or reason
        if self._watching is not None:
            self._watching.cancel()

    def _lose(self) -> None:
        if self._reason is None:
            self._lost.set_result(HostLoss(ABSENT, is_death=False))
            self.end(HostLost(self._model, ABSENT))

    def _begin(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """A future that only what is made ends, or what gives it up: a caller can't cancel it, for it may run."""
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()
        if self._reason is not None:
            coroutine.close()
            future.set_exception(self._reason)
            return future
        made = self._calls.run(coroutine)
        with self._changing:
            self._waiting[future] = made
        made.add_done_callback(lambda _: self._end(future, made))
        return future

    def _end(self, future: Future[T], made: Future[T]) -> None:
        with self._changing:
            if self._waiting.pop(future, None) is None:  # it was given up
                return
        if made.cancelled():
            future.set_exception(Unavailable("The request was cancelled."))
        elif (error := made.exception()) is not None:
            future.set_exception(_error_of(error))
        else:
            future.set_result(made.result())


def _done(value: T) -> Future[T]:
    future: Future[T] = Future()
    future.set_result(value)
    return future


def _error_of(error: BaseException) -> BaseException:
    """Ray's own errors say which machine's fault it is; to a caller they are one. A loop has another class than futures
    for what was cancelled."""
    if isinstance(error, asyncio.CancelledError):
        return CancelledError()
    if isinstance(error, RayActorError | DeploymentUnavailableError):
        return Unavailable(f"A replica of the base model ended: {type(error).__name__}; try again.")
    return error
