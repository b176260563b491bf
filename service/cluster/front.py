"""A front: the same app as on one machine, behind Serve's proxy."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

from fastapi import FastAPI
from ray.serve.handle import DeploymentHandle

from models_registry.storage.blobs import BlobStore
from service.bootstrap import create_app
from service.cluster.process_log import begin_log
from service.front.engine import Engine
from service.hosting import open_local_process
from service.protocol.host import Transport
from service.settings import Settings
from service.transports.ray_actor import RayActors

LOOKING_S: Final = 0.1


class Front:
    """Answers callers, runs no forward; for `serve.ingress`. Made with the settings of its machine's environment."""

    def __init__(self, deployer: DeploymentHandle[Any]) -> None:
        self._deployer = deployer
        self._settings = begin_log()

    def __serve_build_asgi_app__(self) -> FastAPI:
        app = create_app(self._settings, self._open_transport)
        begin = app.router.lifespan_context

        @asynccontextmanager
        async def begin_and_find_models(_: FastAPI) -> AsyncGenerator[None]:
            async with begin(app):
                await _until_models_are_found(app.state.engine)
                yield

        # Serve sends callers once this is done, and ends an older front for it.
        app.router.lifespan_context = begin_and_find_models
        return app

    def _open_transport(self, settings: Settings, blobs: BlobStore) -> Transport:
        return RayActors(self._deployer, open_local_process(settings))


async def _until_models_are_found(engine: Engine) -> None:
    """At most for `ADAPTER_SERVICE_READY_GRACE`: a replica that isn't built must not keep the front from answering."""
    while engine.is_starting:
        await asyncio.sleep(LOOKING_S)
