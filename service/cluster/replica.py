"""A replica of a base model: a Ray actor that holds a host as a front does on one machine, in a child process."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from concurrent.futures import Future
from dataclasses import replace
from itertools import count
from typing import Any

import ray
from ray import serve
from ray.util import get_node_ip_address

from models_registry.records import AdapterVersion, BaseModel
from service.cluster.autoscaling import WORK, waiting_work
from service.cluster.node_mates import NodeMates
from service.cluster.process_log import begin_log
from service.cluster.replica_build import build_host
from service.cluster.replica_pins import ReplicaPins
from service.cluster.replica_requests import ReplicaRequests
from service.cluster.routing_report import routing_stats
from service.front.hosts.host_monitor import HostMonitor
from service.front.periodic import Periodic
from service.hosting import limits_of, open_local_process, times_of
from service.protocol import codec
from service.protocol.errors import HostLost
from service.protocol.host import ModelHost
from service.protocol.messages import Failed
from service.protocol.replicas import Done, Inferred, Lost, PinWish, ReplicaPlace, Said
from service.protocol.stats import HostStats, ProcessStats, ReplicaStats
from service.protocol.types import BuildOrder, FreshWeights, HostStatus

log = logging.getLogger(__name__)

SHARING_S = 1.0
"""So often it looks who else shares its memory."""


class HostReplica:
    """Relays the verbs of its host. Made by Serve, with the settings of its machine's environment.

    A build that fails leaves it healthy, so that whoever asks is told why. One whose host has ended is not: Serve
    replaces it.
    """

    def __init__(self, base: BaseModel) -> None:
        settings = begin_log()
        self.name = serve.get_replica_context().replica_id.unique_id
        roots = tuple(map(str, settings.model_roots))
        self._order = BuildOrder(base, roots, settings.factories, limits_of(settings))
        self._transport = open_local_process(settings)
        self._times = times_of(settings)
        self._host: ModelHost | None = None
        self._building = asyncio.Lock()
        self._built: Said | None = None
        self._pins = ReplicaPins()
        self._node = get_node_ip_address()
        self._requests = ReplicaRequests(self.name)
        # Here, because it alone sees which requests its forward runs.
        HostMonitor(self._ready_hosts, self._times.forward_s).start()
        self._reports = count(1)
        self._mates = NodeMates(self.name, " ".join(ray.get_runtime_context().get_accelerator_ids().get("GPU", ())))
        self._shared: tuple[ModelHost, int] | None = None
        self._build()
        Periodic("sharing of memory", SHARING_S, self._share).start()

    # ---- building -----------------------------------------------------------------------------------------------

    async def built(self) -> Said:
        """What was built, or why nothing was; who asks after they were told tries it again."""
        async with self._building:
            if self._built is None:
                await asyncio.to_thread(self._build)
            said = self._built
            assert said is not None, "it was built just now, or before"
            if isinstance(said, Failed):
                self._built = None
            return said

    def _build(self) -> None:
        try:
            self._host, built = build_host(self._transport, self._order, self._times.load_s)
        except BaseException as error:  # a factory may raise anything, even SystemExit: it is this model's failure
            log.warning("model %s failed: %s", self._order.base.id, error)
            self._built = codec.failed_message(0, error)
        else:
            self._built = Done(built)

    def check_health(self) -> None:
        """Raises once its host has ended, of itself or because the monitor ended it."""
        if self._host is not None and self._host.lost.done():
            raise RuntimeError(f"The host of the base model {self._order.base.id!r} has ended.")

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """What `ByWaitingWork` goes by."""
        if self._host is None:
            return {WORK: 0.0}
        return {WORK: waiting_work((await asyncio.wrap_future(self._host.status())).stats)}

    async def record_routing_stats(self) -> dict[str, Any]:
        """For the routers, which Serve hands it to."""
        if self._host is None or self._host.lost.done():
            return {}
        status = await asyncio.wrap_future(self._host.status())
        return routing_stats(status, next(self._reports), self._order.limits.max_batch_rows)

    # ---- inference ----------------------------------------------------------------------------------------------

    async def infer(self, front: str, content: bytes, versions: tuple[AdapterVersion, ...]) -> Inferred:
        """The frame that answers a front's request; with the versions that it thinks are new here."""
        if self._host is None:
            return Lost("its model was not built")
        return await self._requests.infer(self._host, front, content, versions)

    async def stream(
        self, front: str, content: bytes, versions: tuple[AdapterVersion, ...]
    ) -> AsyncGenerator[Inferred, None]:
        """As `infer`, the parts of its texts before that."""
        if self._host is None:
            yield Lost("its model was not built")
            return
        async for said in self._requests.stream(self._host, front, content, versions):
            yield said

    async def cancel(self, front: str, id: int) -> Said:
        if self._host is not None:
            self._requests.cancel(self._host, front, id)
        return Done()

    # ---- other verbs --------------------------------------------------------------------------------------------

    async def profile(self) -> Said:
        return await self._said(self._live.profile())

    async def prepare(self, version: AdapterVersion) -> Said:
        return await self._said(self._live.prepare(version))

    async def attach(self, version: AdapterVersion) -> Said:
        return await self._said(self._live.attach(version))

    async def place(self) -> Said:
        return Done(ReplicaPlace(self.name, self._pins.pinned, self._pins.wishes) if self._host is not None else None)

    async def wish(self, wish: PinWish, again: bool) -> Said:
        self._pins.wish(wish, again)
        return Done()

    async def load(self, version: AdapterVersion, pin: bool, names: tuple[str, ...], again: bool) -> Said:
        """Where this is one of the replicas that are meant. `again`: for a wish that may be over."""
        if self.name not in names or (again and self._pins.is_over(version.key)):
            return Done()
        said = await self._said(self._live.load(version, pin))
        if pin and isinstance(said, Done):
            self._pins.pin(version.key)
        return said

    async def unload(self, keys: tuple[str, ...]) -> Said:
        self._pins.unpin(keys)
        return await self._said(self._live.unload(keys))

    async def status(self, keys: tuple[str, ...]) -> Said:
        said = await self._said(self._live.status(keys))
        process = self._live.process
        if not isinstance(said, Done) or process is None:
            return said
        status: HostStatus = said.value
        return Done(replace(status, stats=replace(status.stats, replicas=(self._stats(status.stats, process),))))

    def _stats(self, stats: HostStats, process: ProcessStats) -> ReplicaStats:
        return ReplicaStats(
            self.name,
            self._node,
            process.pid,
            process.rss_bytes,
            process.age_s,
            stats.queue.requests,
            stats.texts.running,
            stats.adapters.resident,
            stats.adapters.bytes,
            stats.adapters.pinned,
        )

    async def initial_weights(self, front: str, id: int, fresh: FreshWeights) -> Said:
        number = self._requests.number(front, id)
        try:
            return await self._said(self._live.initial_weights(number, fresh))
        finally:
            self._requests.release(front, id)

    async def forget(self, keys: tuple[str, ...]) -> Said:
        self._live.forget(keys)
        self._requests.forget(keys)
        self._pins.unpin(keys)
        return Done()

    async def share_resident(self, shares: Mapping[str, float]) -> Said:
        self._live.share_resident(shares)
        return Done()

    # ---- inside -------------------------------------------------------------------------------------------------

    def _ready_hosts(self) -> Mapping[str, ModelHost]:
        return {} if self._host is None else {self._order.base.id: self._host}

    def _share(self) -> None:
        """Limits that nobody set are divided by those that share the memory, as a front does on one machine."""
        if (host := self._host) is not None and self._shared != (now := (host, self._mates.count)):
            host.share(now[1])
            self._shared = now

    @property
    def _live(self) -> ModelHost:
        if self._host is None:
            raise RuntimeError(f"The base model {self._order.base.id!r} was not built.")
        return self._host

    async def _said(self, future: Future[Any]) -> Said:
        try:
            return Done(await asyncio.wrap_future(future))
        except HostLost as error:
            return Lost(error.reason)
        except Exception as error:  # whoever asked raises it
            return codec.failed_message(0, error)
