"""Merges beside the front: their turns, their callers, their ends."""

from concurrent.futures import Future
from threading import Event
from typing import Any

import pytest

from models_registry.errors import Cancelled, NoRoom, RegistryError
from models_registry.records import Architecture
from service.front.hosts.merge_runner import MergeRunner
from service.protocol.errors import HostLost
from service.protocol.types import Merged, MergeOrder

ORDER = MergeOrder((), Architecture((), "0" * 64, 0, 0), {"method": "cat"})
DONE = Merged({}, (), {})


class Hosts:
    """A transport whose hosts merge what `outcome` says, once it is there."""

    parallel_loads = 1

    def __init__(self) -> None:
        self.outcome: Future[Merged] = Future()
        self.ended: list[RegistryError] = []
        self.cancelled: list[int] = []
        self.begun = Event()

    def start(self, name: str) -> Any:
        return self

    def close(self) -> None:
        """Nothing runs."""

    def merge(self, id: int, order: MergeOrder) -> Future[Merged]:
        self.begun.set()
        return self.outcome

    def cancel(self, id: int) -> None:
        self.cancelled.append(id)

    def end(self, reason: RegistryError) -> bool:
        self.ended.append(reason)
        return True


def test_a_merge_has_a_host_of_its_own_that_ends_with_it() -> None:
    hosts = Hosts()
    hosts.outcome.set_result(DONE)
    assert MergeRunner(hosts).merge(ORDER, lambda: False) is DONE
    assert len(hosts.ended) == 1


def test_a_merge_whose_caller_has_left_is_ended() -> None:
    hosts = Hosts()
    with pytest.raises(Cancelled):
        MergeRunner(hosts).merge(ORDER, hosts.begun.is_set)
    assert (len(hosts.ended), hosts.cancelled) == (1, [0])


def test_a_merge_whose_process_dies_is_said_to_have_no_room() -> None:
    hosts = Hosts()
    hosts.outcome.set_exception(HostLost("a merge", "SIGKILL (out of memory?)"))
    with pytest.raises(NoRoom, match="out of memory"):
        MergeRunner(hosts).merge(ORDER, lambda: False)
    hosts.outcome = Future()
    hosts.outcome.set_result(DONE)
    assert MergeRunner(hosts).merge(ORDER, lambda: False) is DONE, "its turn was given back"
