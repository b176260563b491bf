"""How builds take turns, are limited and are tried again where their host dies."""

from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import cast

from engines import TIMEOUT_S, eventually

from models_registry.errors import Invalid, RegistryError
from service.front.hosts.hosted_model import HostedModel
from service.front.hosts.model_loader import ModelLoader
from service.front.hosts.place import Place
from service.protocol.errors import HostLost
from service.protocol.types import BuildOrder
from tests.service.front.hosts.puppets import BASE_MODEL, Puppet, PuppetTransport

LOST = HostLost("m", "SIGSEGV")


@dataclass
class Loading:
    """A loader, and what it finished."""

    make: PuppetTransport
    timeout_s: float = TIMEOUT_S
    wanted: bool = True
    finished: "SimpleQueue[HostedModel | BaseException]" = field(default_factory=SimpleQueue)

    def __post_init__(self) -> None:
        self.loader = ModelLoader(
            self.make,
            lambda base: cast(BuildOrder, base),
            self.timeout_s,
            lambda base, place: self.wanted,
            lambda base, place, outcome: self.finished.put(outcome),
        )
        self.loader.start()

    def add(self) -> Place:
        place = Place("loading")
        self.loader.add(BASE_MODEL, place)
        return place


def opened() -> Puppet:
    puppet = Puppet()
    puppet.opened.set_result(None)
    return puppet


def dying() -> Puppet:
    puppet = opened()
    puppet.built.set_exception(LOST)
    return puppet


def test_a_host_that_dies_whenever_it_builds_is_given_up_with_the_signal_named() -> None:
    loading = Loading(PuppetTransport(dying))
    loading.add()
    outcome = loading.finished.get(timeout=TIMEOUT_S)
    assert isinstance(outcome, Invalid)
    assert "3 times" in outcome.detail
    assert "SIGSEGV" in outcome.detail
    assert len(loading.make.started) == 3
    loading.loader.stop(TIMEOUT_S)


def test_a_build_that_nobody_wants_any_more_is_not_tried_again() -> None:
    loading = Loading(PuppetTransport(opened))
    loading.add()
    eventually(lambda: bool(loading.make.started))
    loading.wanted = False
    loading.make.started[0].built.set_exception(LOST)
    assert isinstance(loading.finished.get(timeout=TIMEOUT_S), RegistryError)
    assert len(loading.make.started) == 1
    loading.loader.stop(TIMEOUT_S)


def test_a_build_that_takes_too_long_fails_and_lets_the_next_one_begin() -> None:
    loading = Loading(PuppetTransport(opened), timeout_s=0.01)
    for _ in range(2):
        loading.add()
    for _ in range(2):
        outcome = loading.finished.get(timeout=TIMEOUT_S)
        assert isinstance(outcome, RegistryError)
        assert "ADAPTER_SERVICE_LOAD_TIMEOUT" in outcome.detail
    loading.loader.stop(TIMEOUT_S)


def test_a_timeout_that_a_factory_raises_is_its_own() -> None:
    loading = Loading(PuppetTransport(opened))
    loading.add()
    eventually(lambda: bool(loading.make.started))
    error = TimeoutError("the factory's server is away")
    loading.make.started[0].built.set_exception(error)
    assert loading.finished.get(timeout=TIMEOUT_S) is error
    loading.loader.stop(TIMEOUT_S)


def test_no_more_builds_run_at_a_time_than_may() -> None:
    loading = Loading(PuppetTransport(opened, parallel_loads=1))
    for _ in range(2):
        loading.add()
    eventually(lambda: bool(loading.make.started))
    first = loading.make.started[0]
    first.built.set_exception(Invalid("no"))
    loading.finished.get(timeout=TIMEOUT_S)
    eventually(lambda: len(loading.make.started) == 2)
    assert not loading.make.started[1].built.done()
    loading.make.started[1].built.set_exception(Invalid("no"))
    loading.finished.get(timeout=TIMEOUT_S)
    loading.loader.stop(TIMEOUT_S)
