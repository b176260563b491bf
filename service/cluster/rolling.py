"""`adapterctl cluster roll`: a running cluster gets processes with the code that is installed now, a few at a time."""

import logging
from collections.abc import Mapping

import ray
from ray import serve

from service.cluster.app import ClusterArguments, build
from service.cluster.running import NAME
from service.settings import Settings

log = logging.getLogger(__name__)


def roll_cluster(settings: Settings, arguments: Mapping[str, int], address: str) -> None:
    """Fronts and deployer first, then each base model's replicas, while all go on answering. Raises `Invalid`."""
    application = build(ClusterArguments(**arguments))
    ray.init(address)
    try:
        serve.run(application, name=NAME, route_prefix=settings.root_path or "/")
        log.info("fronts and deployer are new")
        rolled = serve.get_deployment_handle("deployer", NAME).rolled.remote().result()
        log.info("so are the replicas of %d base models", len(rolled))
    finally:
        ray.shutdown()
