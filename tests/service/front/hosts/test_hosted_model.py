"""What a front waits for at a host that other fronts ask, too, and what it brings back where that one has ended."""

from collections.abc import Collection
from concurrent.futures import Future
from typing import cast

from engines import version_of

from models_registry.records import AdapterVersion
from service.front.hosts.hosted_model import HostedModel
from service.front.hosts.returning import Returning, bring_back
from service.protocol.types import Built, HostStatus
from tests.service.front.hosts.puppets import Puppet

VERSION = version_of("tone")


class Shared(Puppet):
    """A host where another front's requests use a version for some more looks."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self.looks = looks
        self.said: list[str] = []

    def forget(self, keys: Collection[str]) -> None:
        self.said.append("forget")

    def unload(self, keys: Collection[str]) -> Future[bool]:
        self.said.append("unload")
        self.looks -= 1
        freed: Future[bool] = Future()
        freed.set_result(self.looks < 0)
        return freed


class Loading(Puppet):
    """Says what it was to load."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[tuple[str, bool, int | None]] = []

    def load(self, version: AdapterVersion, pin: bool, replicas: int | None = None) -> Future[None]:
        self.loads.append((version.reference, pin, replicas))
        loaded: Future[None] = Future()
        loaded.set_result(None)
        return loaded


def hosted(host: Puppet) -> HostedModel:
    return HostedModel(host.as_host, cast(Built, None), cast(HostStatus, None))


def test_a_draining_removal_waits_for_other_fronts_requests() -> None:
    host = Shared(looks=2)
    hosted(host).remove([VERSION], patience_s=600)
    assert host.said == ["forget", "unload", "unload", "unload"]


def test_another_removal_looks_once() -> None:
    host = Shared(looks=2)
    hosted(host).remove([VERSION], patience_s=0)
    assert host.said == ["forget", "unload"]


def test_what_was_pinned_is_brought_back_on_as_many_replicas() -> None:
    ended, following = hosted(Loading()), Loading()
    for name, replicas in (("once", 1), ("everywhere", None)):
        ended.load(version_of(name), pin=True, replicas=replicas)
    bring_back(hosted(following), Returning(*ended.in_use()))
    assert following.loads == [("once@1", True, 1), ("everywhere@1", True, None)]
