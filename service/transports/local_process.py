"""Hosts in processes of their own on this machine, each joined to the front by a socket pair."""

from dataclasses import dataclass

import msgspec

from service.log import LogFormat, LogLevel
from service.protocol.host import ModelHost
from service.transports.processes.cores import usable_cores
from service.transports.processes.launch import Launch, Launcher
from service.transports.remote_host import RemoteHost

ENTRY = "service.host.main:serve"
PRELOADED = (
    "service.host.main",
    "transformers.modeling_utils",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "transformers.generation.utils",
    "accelerate",
)
"""What is imported once for all hosts. No more: whatever starts a thread or asks for CUDA can't be forked."""


@dataclass(frozen=True, slots=True)
class HostSettings:
    """What each host's process gets: where blobs are, how it logs, how much memory it may have."""

    blob_url: str
    s3_endpoint: str | None = None
    memory_bytes: int | None = None
    log_format: LogFormat = "text"
    log_level: LogLevel = "info"


class LocalProcess:
    """Constructing it starts nothing. Hosts are forked from one process that has imported everything; with CUDA, which
    can't be forked, each is a fresh interpreter."""

    def __init__(self, settings: HostSettings, launcher: Launcher, parallel_loads: int = 4) -> None:
        self._settings = settings
        self._launcher = launcher
        self.parallel_loads = parallel_loads

    def start(self, name: str) -> ModelHost:
        # Each may use all cores: with its share alone, one busy model and two busy ones took longer.
        launch = Launch(ENTRY, self._order(name), usable_cores(), self._settings.memory_bytes)
        return RemoteHost(name, self._launcher.launch(launch))

    def close(self) -> None:
        self._launcher.close()

    def _order(self, name: str) -> bytes:
        settings = self._settings
        start = {
            "model": name,
            "blob_url": settings.blob_url,
            "s3_endpoint": settings.s3_endpoint,
            "log_format": settings.log_format,
            "log_level": settings.log_level,
        }
        return msgspec.json.encode(start)
