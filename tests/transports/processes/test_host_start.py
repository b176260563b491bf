"""What holds however a host is started."""

import os
import select
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import psutil
import pytest

from service.transports.processes.launch import Launcher
from tests.transports.processes.conftest import PATIENCE_S, SECRETS, answer_of, end, launch_of
from tests.transports.processes.entries import Description

ROOT = Path(__file__).parents[3]


def test_a_host_gets_its_order_and_answers(launcher: Launcher) -> None:
    order = os.urandom(1 << 20)  # more than a socket holds
    host = launcher.launch(launch_of("echo", order))
    assert host.socket.recv(len(order), socket.MSG_WAITALL) == order
    host.socket.sendall(b"more")
    assert host.socket.recv(4, socket.MSG_WAITALL) == b"more"
    assert host.rss_bytes() > 1 << 20
    host.socket.close()
    assert str(host.wait(PATIENCE_S)) == "exit code 0"
    assert host.rss_bytes() == 0


def test_a_host_knows_no_secret_holds_no_file_and_keeps_its_limits(launcher: Launcher) -> None:
    other = launcher.launch(launch_of("echo"))
    host = launcher.launch(launch_of("describe", threads=2))
    found = msgspec.json.decode(answer_of(host), type=Description)
    assert "PATH" in found.environment
    assert not [secret for secret in SECRETS.values() if secret in found.environment]
    assert "ADAPTER_SERVICE_" not in found.environment
    assert [name.partition(":")[0] for name in found.open_files] == ["socket"]
    assert (found.threads, found.first_to_be_killed, found.product) == (2, 1000, 512**3)
    end(host)
    end(other)


@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_a_killed_front_takes_hosts_with_it_even_inside_native_calls(how: str) -> None:
    """A host that holds Python's lock can't see the end of its socket."""
    command = [sys.executable, "-m", "tests.transports.processes.front", how]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as front:
        assert front.stdout
        host = int(front.stdout.readline())
        started = [process.pid for process in psutil.Process(front.pid).children(recursive=True)]
        assert host in started
        descriptors = [os.pidfd_open(pid) for pid in started]
        front.kill()
        for descriptor in descriptors:
            ended, _, _ = select.select([descriptor], [], [], PATIENCE_S)
            assert ended
            os.close(descriptor)
