"""The cluster's application: `serve run service.cluster.app:build fronts=2`."""

from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field
from ray import serve
from ray.serve import Application

from models_registry.errors import Invalid
from service.cluster.applications import SILENT_S
from service.cluster.deployer import Deployer
from service.cluster.front import Front
from service.settings import Settings, read_settings

MOST_REQUESTS = 4096
"""Beside each other on one front; more wait in Serve's proxy."""


class ClusterArguments(BaseModel):
    """What `serve run` takes behind the application's name. Everything else is a setting."""

    model_config = ConfigDict(extra="forbid")

    fronts: int = Field(default=2, ge=1)
    """Processes that answer callers."""
    front_cpus: float = Field(default=1.0, ge=0)
    """What Ray sets aside for each."""
    replicas: int = Field(default=1, ge=1)
    """Of each base model that says nothing of its own."""


def build(arguments: ClusterArguments) -> Application:
    """The fronts and the deployer. Raises `Invalid` where the settings are wrong, or don't fit several machines."""
    require_shared(read_settings())
    quiet = {"enable_access_log": False}
    deployer = serve.deployment(
        name="deployer", num_replicas=1, ray_actor_options={"num_cpus": 0}, logging_config=quiet
    )(Deployer)
    front = serve.deployment(
        name="front",
        num_replicas=arguments.fronts,
        max_ongoing_requests=MOST_REQUESTS,
        ray_actor_options={"num_cpus": arguments.front_cpus},
        health_check_timeout_s=SILENT_S,
        logging_config=quiet,
    )(serve.ingress()(Front))
    return front.bind(deployer.bind(arguments.replicas, uuid4().hex))


def require_shared(settings: Settings) -> None:
    """Raises `Invalid` where the registry is a file: the processes of a cluster are on several machines."""
    if settings.database_url.startswith("sqlite"):
        raise Invalid(
            "A cluster needs a registry that all its machines reach: set ADAPTER_SERVICE_DATABASE_URL to "
            "postgresql://…; SQLite is a file on one of them."
        )
