"""Which hosts are ended because they are stuck, and that no other is."""

import time
from typing import cast

import pytest

from service.front.hosts.host_monitor import HostMonitor
from service.protocol.types import HostStatus, Work
from tests.service.front.hosts.puppets import Puppet

FORWARD_S = 600.0


@pytest.fixture
def puppet() -> Puppet:
    return Puppet()


@pytest.fixture
def monitor(puppet: Puppet) -> HostMonitor:
    return HostMonitor(lambda: {"m": puppet.as_host}, FORWARD_S)


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    now = time.monotonic() + seconds
    monkeypatch.setattr(time, "monotonic", lambda: now)


def test_a_forward_that_takes_longer_than_any_may_ends_its_host(puppet: Puppet, monitor: HostMonitor) -> None:
    puppet.work = Work((1,), time.monotonic() - FORWARD_S / 2)
    monitor.look()
    assert not puppet.killed
    puppet.work = Work((1,), time.monotonic() - FORWARD_S - 1)
    monitor.look()
    (reason,) = puppet.killed
    assert reason == "its forward took longer than 600 s, ADAPTER_SERVICE_FORWARD_TIMEOUT"


def test_a_host_that_says_nothing_for_so_long_is_ended_too(
    puppet: Puppet, monitor: HostMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monitor.look()
    later(monkeypatch, FORWARD_S - 1)
    monitor.look()
    assert not puppet.killed
    later(monkeypatch, FORWARD_S + 1)
    monitor.look()
    assert puppet.killed == ["it said nothing for longer than 600 s, ADAPTER_SERVICE_FORWARD_TIMEOUT"]


def test_a_host_that_answers_is_asked_again_and_left_alone(
    puppet: Puppet, monitor: HostMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    for turn in range(3):
        monitor.look()
        assert len(puppet.asked) == turn + 1
        puppet.asked[-1].set_result(cast(HostStatus, None))
        later(monkeypatch, FORWARD_S + 1)
    assert not puppet.killed


def test_a_host_has_one_question_to_answer_at_a_time(puppet: Puppet, monitor: HostMonitor) -> None:
    for _ in range(3):
        monitor.look()
    assert len(puppet.asked) == 1
