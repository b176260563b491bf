"""How the end of a host is told."""

import os
import signal

import pytest

from service.transports.processes.host_process import Exit
from tests.transports.processes.conftest import PATIENCE_S, Start


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("segfault", "SIGSEGV"),
        ("exit_at_once", "exit code 3"),
        ("exit_by_exception", "exit code 4"),
        ("fail", "exit code 1"),
        ("no_such_entry", "exit code 1"),
        ("return_beside_a_thread", "exit code 0"),
    ],
)
def test_the_end_of_a_process_is_reported_by_name(start: Start, entry: str, told: str) -> None:
    assert str(start(entry).wait(PATIENCE_S)) == told


def test_a_kill_that_the_front_did_not_ask_for_points_at_memory(start: Start) -> None:
    killed, starved = start("echo"), start("echo")
    killed.kill()
    os.kill(starved.pid, signal.SIGKILL)
    assert str(killed.wait(PATIENCE_S)) == "SIGKILL"
    assert str(starved.wait(PATIENCE_S)) == "SIGKILL (out of memory?)"


def test_a_signal_without_a_name_is_reported_by_its_number() -> None:
    assert Exit(-40).signal == "signal 40"
    assert Exit(3).signal is None


def test_killing_what_has_ended_reaches_nobody(start: Start) -> None:
    host = start("exit_at_once")
    assert host.wait(PATIENCE_S) == Exit(3)
    host.kill()
    assert host.has_ended(0)
    assert host.rss_bytes() == 0


def test_waiting_ends_at_its_time_while_the_host_runs(start: Start) -> None:
    host = start("echo", b"!")
    assert host.wait(0.001) is None
    assert not host.has_ended(0)
    assert host.age_s > 0
