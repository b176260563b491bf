"""Models whose hosts die: beside what the registry wants, beside the end of the service, and when they have failed."""

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest
from engines import TIMEOUT_S, eventually
from versions import ARCHITECTURE

from models_registry.arithmetic import Arithmetic
from models_registry.errors import RegistryError, Unavailable
from models_registry.records import BaseModel, PythonSource
from models_registry.registry import Registry
from models_registry.storage.blobs import open_blob_store
from models_registry.storage.database import migrate, open_database
from service.front.hosts.host_manager import MOST_DEATHS, HostManager
from service.front.hosts.times import DEFAULT_TIMES
from service.protocol.errors import HostLost
from service.protocol.types import BuildOrder, Built, HostLoss, HostStatus
from tests.service.front.hosts.puppets import Puppet, PuppetTransport

BUILT = Built(ARCHITECTURE, "float32", "cpu", None, Arithmetic("as_stored", "the dtype was asked for", 4))
LOSS = HostLoss("SIGSEGV")


class Mortal(Puppet):
    """Is built when a test says so; its end is the end of its build too."""

    def __init__(self) -> None:
        super().__init__()
        self.opened.set_result(None)

    def status(self, keys: object = ()) -> Future[HostStatus]:
        answered = super().status(keys)
        answered.set_result(cast(HostStatus, None))  # it is only kept
        return answered

    def share(self, models: int) -> None:
        pass

    def share_resident(self, shares: object) -> None:
        pass

    def close(self, reason: RegistryError) -> Future[None]:
        self.end(reason)
        closed: Future[None] = Future()
        closed.set_result(None)
        return closed

    def end(self, reason: RegistryError) -> bool:
        if not self.built.done():
            self.built.set_exception(reason)
        return super().end(reason)

    def die(self, loss: HostLoss = LOSS) -> None:
        """As the transport reports it: a build that runs fails, then the loss is known."""
        if not self.built.done():
            self.built.set_exception(HostLost("m", loss.reason))
        self.lost.set_result(loss)


@dataclass
class House:
    """A process's hosts, over a registry that others may change."""

    registry: Registry
    manager: HostManager
    hosts: PuppetTransport

    @property
    def state(self) -> str:
        return self.manager.place("m").state

    def follow(self) -> None:
        self.manager.follow([self.registry.find_base_model("m")])

    def host(self, number: int) -> Mortal:
        """The process's first, second, … host, once it was started."""
        eventually(lambda: len(self.hosts.started) >= number)
        host = self.hosts.started[number - 1]
        assert isinstance(host, Mortal)
        return host

    def build(self, number: int) -> Mortal:
        host = self.host(number)
        host.built.set_result(BUILT)
        eventually(lambda: self.state == "ready")
        return host

    def die_until_failed(self) -> None:
        for number in range(1, MOST_DEATHS + 1):
            self.build(number).die()
        eventually(lambda: self.state == "failed")


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    url = f"sqlite:///{tmp_path}/registry.db"
    migrate(url)
    with closing(open_database(url)) as database:
        registry = Registry(database, open_blob_store(f"file:{tmp_path}/blobs"))
        base = registry.register_base_model("m", PythonSource("bases:mlp"))
        hosts = PuppetTransport(Mortal)
        manager = HostManager(registry, hosts, _order_of, DEFAULT_TIMES, True, str)
        manager.start([base])
        yield House(registry, manager, hosts)
        manager.stop(Unavailable("The test is over."))


def test_a_host_that_dies_is_followed_by_another(house: House) -> None:
    house.build(1).die()
    assert house.state == "restarting"
    house.build(2)
    assert house.manager.place("m").restarts == 1


def test_a_model_that_died_too_often_stays_failed_when_another_process_builds_it(house: House) -> None:
    house.die_until_failed()
    house.registry.record_built("m", ARCHITECTURE)
    assert house.registry.find_base_model("m").failure is None
    house.follow()
    assert house.state == "failed"
    assert len(house.hosts.started) == MOST_DEATHS


def test_a_model_whose_machines_end_never_fails_of_it(house: House) -> None:
    for number in range(1, MOST_DEATHS + 2):
        house.build(number).die(HostLoss("no replica was there", is_death=False))
        with pytest.raises(HostLost, match="no replica was there"):
            house.manager.find("m")
    house.build(MOST_DEATHS + 2)


def test_a_model_that_died_in_each_build_stays_failed_when_another_process_builds_it(house: House) -> None:
    for number in range(1, 4):
        house.host(number).die()
    eventually(lambda: house.state == "failed")
    house.registry.record_built("m", ARCHITECTURE)
    house.follow()
    assert house.state == "failed"


def test_a_model_that_the_system_ends_in_each_build_is_said_to_lack_memory_perhaps(house: House) -> None:
    for number in range(1, 4):
        house.host(number).die(HostLoss("SIGKILL"))
    eventually(lambda: house.state == "failed")
    assert "died 3 times while it was building: SIGKILL. That is how" in str(house.manager.place("m").reason)


def test_loading_a_model_that_died_too_often_begins_a_new_count(house: House) -> None:
    house.die_until_failed()
    house.manager.load(house.registry.set_hosted("m", True))
    house.build(MOST_DEATHS + 1).die()
    house.build(MOST_DEATHS + 2)
    assert house.manager.place("m").reason is None


def test_another_source_under_the_id_of_a_model_that_died_too_often_is_built(house: House) -> None:
    house.die_until_failed()
    house.registry.remove_base_model("m")
    house.registry.register_base_model("m", PythonSource("bases:wide"))
    house.follow()
    eventually(lambda: house.state == "loading")
    house.build(MOST_DEATHS + 1)


def test_a_model_that_is_unloaded_elsewhere_while_it_restarts_is_not_built_again(house: House) -> None:
    house.build(1).die()
    second = house.host(2)
    house.registry.set_hosted("m", False)
    house.follow()
    eventually(lambda: bool(second.ended))
    assert house.state == "unloaded"
    assert second.built.exception(TIMEOUT_S) is not None


def test_a_host_that_dies_once_its_model_was_unloaded_elsewhere_is_not_replaced(house: House) -> None:
    first = house.build(1)
    house.registry.set_hosted("m", False)
    house.follow()
    first.die()
    assert house.state == "unloaded"
    house.registry.set_hosted("m", True)
    house.follow()
    house.build(2)  # by the load, and no third one by the death
    assert len(house.hosts.started) == 2


def test_a_service_that_stops_ends_the_host_that_follows_a_dead_one(house: House) -> None:
    house.build(1).die()
    second = house.host(2)
    house.manager.stop(Unavailable("The service stops."))
    eventually(lambda: bool(second.ended))
    assert len(house.hosts.started) == 2


def test_a_host_that_dies_after_the_service_stopped_is_not_replaced(house: House) -> None:
    first = house.build(1)
    house.manager.stop(Unavailable("The service stops."))
    first.die()
    assert house.manager.all_places() == {}
    assert len(house.hosts.started) == 1


def _order_of(base: BaseModel) -> BuildOrder:
    return cast(BuildOrder, base)
