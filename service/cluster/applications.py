"""One application of Serve's for each hosted base model, as the deployer wants them and as Serve has them."""

from uuid import uuid4

from ray import serve
from ray.serve.schema import ApplicationStatus

from models_registry.records import BaseModel
from service.cluster.replica import HostReplica
from service.hosting import limits_of
from service.settings import Settings
from service.transports.ray_replicas import DEPLOYMENT

PREFIX = "model_"
SPARE_REQUESTS = 256
"""Beyond the queue of a replica's host, which refuses with words of its own: calls that aren't inference."""


def registration_of(base: BaseModel) -> str:
    """What the names of its applications begin with, and no others': not those of a later model of its id."""
    return f"{PREFIX}{base.id}_{base.created_at.timestamp() * 1e6:.0f}"


def is_of(registration: str, model: str) -> bool:
    return registration.rpartition("_")[0] == f"{PREFIX}{model}"


class Applications:
    """What Serve has of ours. Calls to Serve's controller; they may block."""

    def __init__(self, settings: Settings, replicas: int) -> None:
        """`replicas` has a base model that says nothing of its own."""
        self._settings = settings
        self._replicas = replicas

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

    def run(self, base: BaseModel) -> str:
        """Start its replicas in an application of a new name, because routers remember those that are gone. Returns
        the name, before they are there."""
        name = f"{registration_of(base)}_{uuid4().hex[:8]}"
        settings = self._settings
        deployment = serve.deployment(
            name=DEPLOYMENT,
            num_replicas=self._replicas,
            max_ongoing_requests=limits_of(settings).max_queue + SPARE_REQUESTS,
            health_check_period_s=1.0,
            graceful_shutdown_timeout_s=30.0,
            graceful_shutdown_wait_loop_s=0.5,
            logging_config={"enable_access_log": False},
        )(HostReplica)
        target = serve.RunTarget(deployment.bind(base), name, route_prefix=None)
        serve.run_many([target], wait_for_ingress_deployment_creation=False, wait_for_applications_running=False)
        return name

    def delete(self, application: str) -> None:
        """End its replicas once their requests have ended; returns before that."""
        serve.delete(application, _blocking=False)
