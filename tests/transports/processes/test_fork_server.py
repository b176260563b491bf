"""What the fork server does beyond launching: it outlives its hosts, and they don't outlive it."""

import os
import signal
import socket
import threading
from concurrent.futures import Future
from pathlib import Path

import msgspec
import psutil
import pytest

from models_registry.errors import Unavailable
from service.transports.processes.environment import host_environment
from service.transports.processes.fork_messages import Refused, Report
from service.transports.processes.fork_server import ForkServer
from service.transports.processes.fork_server_main import ForkLoop
from service.transports.processes.host_process import Exit, HostProcess
from tests.transports.processes.conftest import PATIENCE_S, Start, answer_of, end, launch_of

ROOT = Path(__file__).parents[3]


def server_of(host: HostProcess) -> psutil.Process:
    parent = psutil.Process(host.pid).parent()
    assert parent
    return parent


def open_descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def test_the_server_has_one_thread_so_that_forks_are_safe(start: Start) -> None:
    assert server_of(start("echo")).num_threads() == 1


def test_an_interrupt_from_the_terminal_reaches_no_host(start: Start) -> None:
    host = start("echo", b"!")
    assert host.socket.recv(1) == b"!"
    server = server_of(host)
    assert os.getsid(host.pid) == os.getsid(server.pid) != os.getsid(0)
    assert os.getpgid(host.pid) == host.pid
    for pid in (server.pid, host.pid):
        os.kill(pid, signal.SIGINT)
    host.socket.sendall(b"?")
    assert host.socket.recv(1) == b"?"
    assert server_of(start("echo")) == server


def test_a_memory_limit_fails_an_allocation_in_its_host_alone(start: Start) -> None:
    limited = start("allocate", b"1000000000", memory_bytes=900_000_000)
    unlimited = start("allocate", b"1000000000")
    assert answer_of(limited) == "MemoryError RuntimeError "
    assert answer_of(unlimited) == "ok ok "


def test_twenty_launches_leave_no_file_open(start: Start) -> None:
    keeper = start("echo")
    pids = (os.getpid(), server_of(keeper).pid)
    before = [open_descriptors(pid) for pid in pids]
    for _ in range(20):
        host = start("echo", b"!")
        assert host.socket.recv(1) == b"!"
        end(host)
    assert [open_descriptors(pid) for pid in pids] == before


def test_hosts_end_with_their_server_and_the_next_launch_starts_another(start: Start) -> None:
    host = start("keep_the_interpreter")
    assert host.socket.recv(1) == b"!"
    server = server_of(host)
    server.kill()
    ended = host.wait(PATIENCE_S)
    assert str(ended) == "SIGKILL (its fork server ended: SIGKILL (out of memory?))"
    assert host.socket.recv(1) == b""
    assert server_of(start("echo")) != server


def test_a_host_imports_from_the_paths_of_its_order(start: Start) -> None:
    assert answer_of(start("paths", paths=("/somewhere", str(ROOT)))).splitlines() == ["/somewhere", str(ROOT)]


def test_a_host_whose_parent_has_ended_ends_at_once(start: Start) -> None:
    assert answer_of(start("belong_to_who_has_gone")) == ""


def test_who_hears_of_an_end_may_launch_again_at_once(fork_server: ForkServer, start: Start) -> None:
    again: Future[HostProcess] = Future()

    def restart(_: Future[Exit]) -> None:
        again.set_result(fork_server.launch(launch_of("echo", b"!")))

    host = start("echo")
    host.exit.add_done_callback(restart)
    host.kill()
    restarted = again.result(PATIENCE_S)
    assert restarted.socket.recv(1) == b"!"
    end(restarted)


def test_the_end_of_the_server_names_a_module_that_cannot_be_imported() -> None:
    server = ForkServer(["no_such_module"], host_environment(os.environ))
    with pytest.raises(Unavailable, match="the fork server ended: exit code 1"):
        server.launch(launch_of("echo"))
    server.close()


def test_closing_ends_every_host_and_a_closed_server_may_start_again() -> None:
    server = ForkServer((), host_environment(os.environ))
    server.close()
    host = server.launch(launch_of("keep_the_interpreter"))
    server.close()
    assert not psutil.pid_exists(host.pid) or psutil.Process(host.pid).status() == psutil.STATUS_ZOMBIE
    host.socket.close()


def test_a_launch_without_a_process_left_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> int:
        raise BlockingIOError("no process is left")

    monkeypatch.setattr(os, "fork", fork)
    front, server = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    host, _ = sockets = socket.socketpair()
    looping = threading.Thread(target=ForkLoop(server).run)
    looping.start()
    socket.send_fds(front, [b"7"], [host.fileno()])
    assert msgspec.msgpack.decode(front.recv(4096), type=Report) == Refused(7, "no process is left")
    front.close()
    looping.join(PATIENCE_S)
    for one in (*sockets, server):
        one.close()
