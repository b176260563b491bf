import socket
import sys
from collections.abc import Callable

import pytest

from models_registry.errors import Unavailable
from service.transports.processes.fork_server import ForkServer
from service.transports.processes.launch import Launch, Launcher, receive_launch, send_launch
from service.transports.processes.spawner import Spawner

LAUNCH = Launch("package.module:function", b"\0order", threads=2, memory_bytes=1 << 40, paths=("/here",))


def test_a_launch_arrives_as_it_was_sent_and_nothing_behind_it_is_taken() -> None:
    front, host = socket.socketpair()
    with front, host:
        send_launch(front, LAUNCH)
        front.sendall(b"more")
        assert receive_launch(host) == LAUNCH
        assert host.recv(100) == b"more"


@pytest.mark.parametrize("sent", [b"", b"\0" * 7 + b"\5" + b"half"])
def test_a_launch_that_was_cut_off_is_none(sent: bytes) -> None:
    front, host = socket.socketpair()
    with host:
        front.sendall(sent)
        front.close()
        assert receive_launch(host) is None


def test_a_launch_to_a_process_that_has_ended_raises_nothing() -> None:
    front, host = socket.socketpair()
    host.close()
    with front:
        send_launch(front, LAUNCH)


@pytest.mark.parametrize("start", [lambda: ForkServer((), {}), lambda: Spawner({})])
def test_other_systems_are_refused_with_what_to_set(
    monkeypatch: pytest.MonkeyPatch, start: Callable[[], Launcher]
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(Unavailable, match=r"PR_SET_PDEATHSIG.*ADAPTER_SERVICE_TRANSPORT=in_process"):
        start()
