"""What a front waits for at a host that other fronts ask, too."""

from collections.abc import Collection
from concurrent.futures import Future
from typing import cast

from engines import version_of

from service.front.hosts.hosted_model import HostedModel
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
