"""One application of Serve's for each hosted base model, as the deployer wants them and as Serve has them."""

from dataclasses import replace
from importlib.metadata import version
from typing import Any
from uuid import uuid4

from ray import serve
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy
from ray.serve.schema import ApplicationStatus

from models_registry.records import BaseModel, ReplicaResources
from service.cluster.autoscaling import ByWaitingWork
from service.cluster.replica import HostReplica
from service.cluster.router import routing_by_warmth
from service.settings import Settings
from service.transports.ray_replicas import DEPLOYMENT

PREFIX = "model_"
SILENT_S = 5.0
"""A replica that says nothing three times for so long is replaced, and what it was asked runs elsewhere."""
SPARE_REQUESTS = 256
"""Beyond the queue of a replica's host, which refuses with words of its own: calls that aren't inference."""

ONE_MORE = 1
"""In percent, rounded up to a whole replica: a single one ends once its successor is there."""


def registration_of(base: BaseModel) -> str:
    """What the names of its applications begin with, and no others': not those of a later model of its id."""
    return f"{PREFIX}{base.id}_{base.created_at.timestamp() * 1e6:.0f}"


def is_of(registration: str, model: str) -> bool:
    return registration.rpartition("_")[0] == f"{PREFIX}{model}"


class Applications:
    """What Serve has of ours. Calls to Serve's controller; they may block."""

    def __init__(self, settings: Settings, replicas: int, code: str) -> None:
        """`replicas` has a base model that says nothing of its own. Replicas of another `code` are replaced."""
        self._settings = settings
        self._replicas = replicas
        self._code = code

    def present(self) -> dict[str, str]:
        """Those that run or start, by their registration."""
        return {
            name.rpartition("_")[0]: name
            for name, one in serve.status().applications.items()
            if name.startswith(PREFIX) and one.status != ApplicationStatus.DELETING
        }

    def remaining(self) -> set[str]:
        """The registrations of all, also of those whose replicas are ending."""
        return {name.rpartition("_")[0] for name in serve.status().applications if name.startswith(PREFIX)}

    def run(self, base: BaseModel, name: str | None = None) -> str:
        """Start its replicas, or give those of the application `name` what its resources say: only a change of what
        each is given, or of the code, replaces them, one by one. A new application has a new name, because routers
        remember those that are gone. Returns the name, before the replicas are there."""
        name = name or f"{registration_of(base)}_{uuid4().hex[:8]}"
        resources = base.resources or ReplicaResources(self._replicas, self._replicas)
        deployment = serve.deployment(
            name=DEPLOYMENT,
            ray_actor_options=_actor_options(resources),
            max_ongoing_requests=self._settings.max_queue + SPARE_REQUESTS,
            health_check_period_s=1.0,
            health_check_timeout_s=SILENT_S,
            graceful_shutdown_timeout_s=30.0,
            graceful_shutdown_wait_loop_s=0.5,
            max_surge_percent=ONE_MORE if resources.min_replicas == 1 else 0,
            logging_config={"enable_access_log": False},
            **self._number(resources),
            request_router_config=routing_by_warmth(),
        )(HostReplica)
        # Where nobody says one, Serve takes each call for a change of the code.
        deployment = deployment.options(version=f"{version('adapter-service')} {name} {self._code}", _internal=True)
        target = serve.RunTarget(deployment.bind(replace(base, resources=None)), name, route_prefix=None)
        serve.run_many([target], wait_for_ingress_deployment_creation=False, wait_for_applications_running=False)
        return name

    def is_running(self, application: str) -> bool:
        """Whether all its replicas are there, and none of an earlier `run`; also true of one that is gone."""
        found = serve.status().applications.get(application)
        return found is None or found.status == ApplicationStatus.RUNNING

    def delete(self, application: str) -> None:
        """End its replicas once their requests have ended; returns before that."""
        serve.delete(application, _blocking=False)

    def _number(self, resources: ReplicaResources) -> dict[str, Any]:
        if resources.min_replicas == resources.max_replicas:
            return {"num_replicas": resources.min_replicas}
        policy = AutoscalingPolicy(
            policy_function=ByWaitingWork, policy_kwargs={"target": self._settings.max_batch_rows}
        )
        scaling = AutoscalingConfig(
            min_replicas=resources.min_replicas,
            max_replicas=resources.max_replicas,
            upscale_delay_s=self._settings.scale_up_after,
            downscale_delay_s=self._settings.scale_down_after,
            look_back_period_s=self._settings.scale_up_after,
            metrics_interval_s=1.0,
            policy=policy,
        )
        return {"autoscaling_config": scaling}


def _actor_options(resources: ReplicaResources) -> dict[str, Any]:
    given = {"num_cpus": resources.cpus, "num_gpus": resources.gpus, "memory": resources.memory_bytes}
    return {name: value for name, value in given.items() if value is not None}
