"""What the settings say of hosts: what each may have, how long it may take, how it is started on this machine."""

import os
from collections.abc import Callable
from typing import TypeAlias

from models_registry.storage.blobs import BlobStore
from service.front.hosts.times import HostTimes
from service.protocol.host import Transport
from service.protocol.types import HostLimits
from service.settings import Settings
from service.transports.local_process import PRELOADED, HostSettings, LocalProcess
from service.transports.processes.environment import host_environment
from service.transports.processes.launchers import open_launcher

OpenTransport: TypeAlias = Callable[[Settings, BlobStore], Transport]
"""How hosts are started and spoken to. Called once, when the service starts."""


def limits_of(settings: Settings) -> HostLimits:
    return HostLimits(
        settings.device,
        settings.max_resident_bytes,
        settings.max_batch_rows,
        settings.max_queue,
        settings.max_upload_bytes,  # an adapter that is made here may be as large as one that is sent
        settings.max_merged_bytes,
        settings.max_request_rows,
        settings.max_cache_bytes,
    )


def times_of(settings: Settings) -> HostTimes:
    return HostTimes(settings.load_timeout, settings.forward_timeout, ready_s=settings.ready_grace)


def open_transport(settings: Settings, blobs: BlobStore) -> Transport:
    """On this machine, as the settings say. Raises `Unavailable` where this system can't keep processes apart."""
    if settings.transport == "in_process":
        # Only here, because the front of hosts in processes of their own must not load what runs models.
        from service.transports.in_process import InProcess

        return InProcess(blobs.get)
    return open_local_process(settings)


def open_local_process(settings: Settings) -> LocalProcess:
    """Hosts in processes of their own. Raises `Unavailable` where this system can't keep processes apart."""
    environment = host_environment(
        os.environ, settings.host_environment, blobs_in_s3=settings.blob_url.startswith("s3:")
    )
    launcher = open_launcher(settings.device, PRELOADED, environment)
    launcher.start()
    # A plain number, because pydantic's own kind of one can't be sent.
    memory_bytes = None if settings.host_memory is None else int(settings.host_memory)
    hosts = HostSettings(settings.blob_url, settings.s3_endpoint, memory_bytes, settings.log_format, settings.log_level)
    return LocalProcess(hosts, launcher, settings.parallel_loads)
