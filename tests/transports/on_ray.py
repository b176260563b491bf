"""The contract's hosts on a real Ray: each is an application of one replica, begun as the host is opened.

The stand-in for the deployer follows no registry, and what the settings of a cluster's machines would say stands in
the order that a test gives.
"""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

from ray import serve

from models_registry.errors import RegistryError
from service.cluster.replica import HostReplica
from service.cluster.router import routing_by_warmth
from service.protocol.host import ModelHost, Transport
from service.protocol.types import BuildOrder
from service.transports.loop_thread import LoopThread
from service.transports.ray_actor import RayActorHost
from service.transports.ray_replicas import DEPLOYMENT

MOST_REQUESTS = 1000


class OnRay:
    """As `RayActors`, without a deployer."""

    parallel_loads = 1

    def __init__(self, blob_url: str, beside: Transport) -> None:
        self._blob_url = blob_url
        self._beside = beside
        self._calls = LoopThread("calls to replicas")

    def start(self, name: str) -> ModelHost:
        return OneReplica(name, self._blob_url, self._beside, self._calls)

    def close(self) -> None:
        self._calls.stop()


class OneReplica(RayActorHost):
    def __init__(self, name: str, blob_url: str, beside: Transport, calls: LoopThread) -> None:
        deployer: Any = SimpleNamespace(application=_verb(self._start), settle=_verb(self._settle))
        super().__init__(name, deployer, beside, calls)
        self._blob_url = blob_url
        self._application: str | None = None
        self._order: BuildOrder | None = None

    def open(self, order: BuildOrder) -> Future[None]:
        self._order = order
        return super().open(order)

    def end(self, reason: RegistryError) -> bool:
        if self._application is not None:
            serve.delete(self._application, _blocking=False)
            self._application = None
        return super().end(reason)

    async def _settle(self, model: str) -> None:
        """There is no other application of it."""

    async def _start(self, model: str) -> str:
        assert self._order is not None, "it was opened"
        self._application = f"contract_{uuid4().hex}"
        await asyncio.to_thread(_run, self._application, self._order, self._blob_url)
        return self._application


def _run(application: str, order: BuildOrder, blob_url: str) -> None:
    limits = order.limits
    said = {
        "BLOB_URL": blob_url,
        "MODEL_ROOTS": ":".join(order.model_roots),
        "FACTORIES": ",".join(order.factories),
        "DEVICE": limits.device,
        "MAX_RESIDENT_BYTES": limits.max_resident_bytes,
        "MAX_BATCH_ROWS": limits.max_batch_rows,
        "MAX_QUEUE": limits.max_queue,
    }
    variables = {f"ADAPTER_SERVICE_{name}": str(value) for name, value in said.items() if value}
    variables["PYTHONPATH"] = ":".join(sys.path)  # of the factories
    deployment = serve.deployment(
        name=DEPLOYMENT,
        num_replicas=1,
        max_ongoing_requests=MOST_REQUESTS,
        ray_actor_options={"num_cpus": 0, "runtime_env": {"env_vars": variables}},
        graceful_shutdown_timeout_s=0.0,
        request_router_config=routing_by_warmth(),
    )(HostReplica)
    target = serve.RunTarget(deployment.bind(order.base), application, route_prefix=None)
    serve.run_many([target], wait_for_ingress_deployment_creation=False, wait_for_applications_running=False)


def _verb(function: Callable[[str], Coroutine[Any, Any, Any]]) -> SimpleNamespace:
    return SimpleNamespace(remote=function)
