"""Hosts that do what a test says, for what the front makes of it. Only the verbs that it asks are there."""

from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import cast

from models_registry.errors import RegistryError
from models_registry.records import BaseModel, PythonSource
from service.protocol.host import ModelHost
from service.protocol.types import BuildOrder, Built, HostLoss, HostStatus, Work

BASE_MODEL = BaseModel("m", PythonSource("bases:mlp"), None, None, None, None, True, datetime(2026, 1, 1, tzinfo=UTC))


class Puppet:
    def __init__(self) -> None:
        self.lost: Future[HostLoss] = Future()
        self.work: Work | None = None
        self.opened: Future[None] = Future()
        self.built: Future[Built] = Future()
        self.asked: list[Future[HostStatus]] = []
        self.killed: list[str] = []
        self.ended: list[RegistryError] = []

    def open(self, order: BuildOrder) -> Future[None]:
        return self.opened

    def build(self) -> Future[Built]:
        return self.built

    def status(self, keys: object = ()) -> Future[HostStatus]:
        self.asked.append(Future())
        return self.asked[-1]

    def kill(self, reason: str) -> None:
        self.killed.append(reason)

    def end(self, reason: RegistryError) -> bool:
        self.ended.append(reason)
        return True

    @property
    def as_host(self) -> ModelHost:
        return cast(ModelHost, self)


class PuppetTransport:
    """Starts what `make` gives."""

    def __init__(self, make: Callable[[], Puppet], parallel_loads: int = 1) -> None:
        self._make = make
        self.parallel_loads = parallel_loads
        self.started: list[Puppet] = []

    def start(self, name: str) -> ModelHost:
        self.started.append(self._make())
        return self.started[-1].as_host

    def close(self) -> None:
        pass
