"""Serve's router of a base model's replicas: `warmth` decides, from what replicas report and what was routed here.

Serve makes one in each process that calls the replicas, and calls it on one event loop. Only inference needs warmth;
other verbs take any replica.
"""

import time
from asyncio import Future
from dataclasses import dataclass
from typing import Any

from cachetools import FIFOCache
from ray.serve.config import RequestRouterConfig
from ray.serve.request_router import PendingRequest, ReplicaID, RequestRouter, RunningReplica

from service.cluster.request_needs import need_of
from service.cluster.routing_report import report_of
from service.cluster.warmth import Need, WarmRouting

INFERENCE = frozenset({"infer", "stream"})
MOST_ROUTED = 65_536
"""Requests of one process in flight; an older one is no longer counted."""

REPORTS_S = 0.5
"""Between two reports of a replica to the routers."""


def routing_by_warmth(reports_s: float = REPORTS_S) -> RequestRouterConfig:
    """For a deployment whose replicas have `record_routing_stats`, as `routing_report` makes them."""
    options: dict[str, Any] = {"request_router_class": WarmRouter, "request_routing_stats_period_s": reports_s}
    return RequestRouterConfig(**options)


@dataclass(slots=True)
class Routed:
    """A request that counts as `replica`'s, or as nobody's. `refused` are those that did not take it."""

    need: Need
    replica: str = ""
    is_taken: bool = False
    refused: tuple[str, ...] = ()


class WarmRouter(RequestRouter):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._routing = WarmRouting()
        self._routed: FIFOCache[str, Routed] = FIFOCache(MOST_ROUTED)
        self._running: dict[str, RunningReplica] = {}
        self._reports: dict[str, int] = {}

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        self._running = {replica.replica_id.unique_id: replica for replica in replicas}
        self._routing.keep(self._running.keys())
        now = time.monotonic()
        for name, replica in self._running.items():
            stats = replica.routing_stats
            if stats and self._reports.get(name) != stats["number"]:
                self._reports[name] = stats["number"]
                self._routing.report(name, report_of(stats), now)
        self._reports = {name: number for name, number in self._reports.items() if name in self._running}
        super().update_replicas(replicas)  # it may begin to route what waits

    def on_replica_actor_died(self, replica_id: ReplicaID) -> None:
        super().on_replica_actor_died(replica_id)
        self._running.pop(replica_id.unique_id, None)
        self._routing.remove(replica_id.unique_id)

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """Each a rank of its own, the best first. It is called once more for a request that the last ones refused."""
        if pending_request is None or pending_request.metadata.call_method not in INFERENCE:
            return [candidate_replicas]
        id = pending_request.metadata.internal_request_id
        if (routed := self._routed.get(id)) is None:
            routed = self._routed[id] = Routed(need_of(pending_request.args[1]))
        elif routed.replica:
            routed.refused = (*routed.refused, routed.replica)
        names = self._routing.choose(routed.need, time.monotonic(), routed.refused).replicas
        if not names:  # all have refused: whichever takes it first
            routed.refused = ()
            self._count_at(routed, "")
            return [candidate_replicas]
        self._count_at(routed, names[0])
        pending_request.future.add_done_callback(lambda future: self._drop_cancelled(id, future))
        return [[self._running[name]] for name in names]

    def on_request_routed(self, pending_request: PendingRequest, replica_id: ReplicaID, result: Any) -> None:
        id, name = pending_request.metadata.internal_request_id, replica_id.unique_id
        if (routed := self._routed.get(id)) is None:
            return
        has_ended = name in routed.refused  # Serve may say so first
        if not has_ended:
            self._count_at(routed, name)
        routed.is_taken = True
        if has_ended:
            self._drop(id)

    def on_request_completed(self, replica_id: ReplicaID, internal_request_id: str) -> None:
        """Serve calls it for what was refused, too."""
        routed = self._routed.get(internal_request_id)
        if routed is None or routed.replica != replica_id.unique_id:
            return
        if routed.is_taken:
            self._drop(internal_request_id)
        else:
            routed.refused = (*routed.refused, routed.replica)
            self._count_at(routed, "")

    # ---- inside -------------------------------------------------------------------------------------------------

    def _count_at(self, routed: Routed, name: str) -> None:
        """From now on the request counts as this replica's."""
        if routed.replica == name:
            return
        if routed.replica:
            self._routing.complete(routed.replica, routed.need)
        routed.replica = name
        if name:
            self._routing.send(name, routed.need, time.monotonic())

    def _drop_cancelled(self, id: str, future: "Future[Any]") -> None:
        if future.cancelled():
            self._drop(id)

    def _drop(self, id: str) -> None:
        if (routed := self._routed.pop(id, None)) is not None:
            self._count_at(routed, "")
