"""`adapterctl cluster up`: a Ray of its own or one that runs, with the service on it until a signal."""

import logging
import os
import signal
import threading
from collections.abc import Mapping
from typing import Any

import ray
from ray import serve

from service.cluster.app import ClusterArguments, build
from service.cluster.proxy import IMPORT_PATH as PROXY_CALLBACK
from service.environment import PREFIX
from service.settings import Settings

log = logging.getLogger(__name__)

NAME = "adapter-service"
"""The application's, in Serve."""
RAYS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": PROXY_CALLBACK,
    # What has lost its host, or hangs, has nothing to finish.
    "RAY_SERVE_FORCE_STOP_UNHEALTHY_REPLICAS": "1",
}
"""Ray's own settings; it reads them when it starts."""
OBJECT_STORE_BYTES = 256 << 20
"""Of a Ray that is started here. Requests and answers pass through it, adapters don't."""


def run_cluster(
    settings: Settings, arguments: Mapping[str, int], address: str | None, cpus: int | None, flags: Mapping[str, Any]
) -> None:
    """Returns after SIGINT or SIGTERM, once the requests that ran have their answers. Raises `Invalid`."""
    for name, value in RAYS.items():
        os.environ.setdefault(name, value)
    # Ray's processes inherit the environment, and read the settings there.
    os.environ.update({f"{PREFIX}{name}".upper(): str(value) for name, value in flags.items()})
    application = build(ClusterArguments(**arguments))
    if address is None:
        # Without that word it would join a Ray that somebody has started on this machine.
        ray.init("local", num_cpus=cpus, object_store_memory=OBJECT_STORE_BYTES, include_dashboard=False)
    else:
        ray.init(address)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):  # not before: Ray's own handler would abort the end under way
        signal.signal(number, lambda *_: ended.set())
    try:
        serve.start(http_options={"host": settings.host, "port": settings.port})
        serve.run(application, name=NAME, route_prefix=settings.root_path or "/")
        log.info("the cluster answers on %s:%d", settings.host, settings.port)
        ended.wait()
    finally:
        serve.shutdown()
        ray.shutdown()
