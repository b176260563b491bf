"""A front: the same app as on one machine, behind Serve's proxy."""

from typing import Any

from fastapi import FastAPI
from ray.serve.handle import DeploymentHandle

from models_registry.storage.blobs import BlobStore
from service.bootstrap import create_app
from service.cluster.process_log import begin_log
from service.hosting import open_local_process
from service.protocol.host import Transport
from service.settings import Settings
from service.transports.ray_actor import RayActors


class Front:
    """Answers callers, runs no forward; for `serve.ingress`. Made with the settings of its machine's environment."""

    def __init__(self, deployer: DeploymentHandle[Any]) -> None:
        self._deployer = deployer
        self._settings = begin_log()

    def __serve_build_asgi_app__(self) -> FastAPI:
        return create_app(self._settings, self._open_transport)

    def _open_transport(self, settings: Settings, blobs: BlobStore) -> Transport:
        return RayActors(self._deployer, open_local_process(settings))
