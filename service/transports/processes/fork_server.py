"""Starts hosts as copies of one process that has imported everything: the front's side of it."""

import itertools
import os
import socket
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import NamedTuple

import msgspec

from models_registry.errors import Unavailable
from service.transports.processes.fork_messages import Ended, Refused, Report
from service.transports.processes.host_process import HostProcess
from service.transports.processes.launch import Launch, require_linux, send_launch
from service.transports.processes.spawner import spawn

SERVER_MODULE = "service.transports.processes.fork_server_main"
LONGEST_REPORT = 4096
KILLING_S = 10.0
"""How long the kernel may take to end what was killed: it frees the memory first."""


class ForkServer:
    """`preload` are modules that are only imported, and that don't touch CUDA while they are. `environment` is all that
    the hosts get. The process begins with `start` or the first launch. Where it died, the next launch starts another.
    """

    def __init__(self, preload: Sequence[str], environment: Mapping[str, str]) -> None:
        require_linux()
        self._preload = tuple(preload)
        self._environment = dict(environment)
        self._starting = threading.Lock()
        self._server: _Server | None = None

    def start(self) -> None:
        """Begin with the imports, and return while they run."""
        self._running()

    def launch(self, launch: Launch) -> HostProcess:
        try:
            process = self._running().fork()
        except _ServerDied:  # perhaps long ago: only using it shows that
            process = self._running().fork()
        send_launch(process.socket, launch)
        return process

    def close(self) -> None:
        with self._starting:
            server, self._server = self._server, None
        if server is not None:
            server.close()

    def _running(self) -> "_Server":
        with self._starting:
            if self._server is None or self._server.ended:
                self._server = _Server(self._preload, self._environment)
            return self._server


class _ServerDied(Unavailable):
    """After it had served; another one will too."""


class _Waiting(NamedTuple):
    """A launch that the server hasn't answered."""

    connection: socket.socket
    forked: Future[HostProcess]


class _Server:
    """One process that forks. A thread reads what it reports until it ends."""

    def __init__(self, preload: tuple[str, ...], environment: Mapping[str, str]) -> None:
        self.ended = False
        self._has_forked = False
        self._process = spawn(SERVER_MODULE, preload, environment, socket.SOCK_SEQPACKET)
        self._control = self._process.socket
        self._numbers = itertools.count()
        self._changing = threading.Lock()
        self._waiting: dict[int, _Waiting] = {}
        self._hosts: dict[int, HostProcess] = {}
        self._reader = threading.Thread(target=self._read, name="fork server's reports", daemon=True)
        self._reader.start()

    def fork(self) -> HostProcess:
        ours, theirs = socket.socketpair()
        forked: Future[HostProcess] = Future()
        with theirs, self._changing:
            if self.ended:
                ours.close()
                raise _ServerDied("The fork server has ended.")
            number = next(self._numbers)
            self._waiting[number] = _Waiting(ours, forked)
            with suppress(ConnectionError):  # the reader finds out too, and answers whatever waits
                socket.send_fds(self._control, [str(number).encode()], [theirs.fileno()])
        return forked.result()

    def close(self) -> None:
        self._process.kill()
        self._reader.join()

    def _read(self) -> None:
        with self._control, suppress(ConnectionError):
            while True:
                content, descriptors, _, _ = socket.recv_fds(self._control, LONGEST_REPORT, 1)
                if not content:
                    break
                self._handle(msgspec.msgpack.decode(content, type=Report), descriptors)
        self._end_hosts()

    def _handle(self, report: Report, descriptors: list[int]) -> None:
        if isinstance(report, Ended):
            _report_exit(self._hosts.pop(report.launch), report.code)
            return
        with self._changing:
            waiting = self._waiting.pop(report.launch)
        if isinstance(report, Refused):
            waiting.connection.close()
            waiting.forked.set_exception(Unavailable(f"No process could be started: {report.reason}."))
            return
        self._has_forked = True
        (pidfd,) = descriptors
        os.set_inheritable(pidfd, False)
        self._hosts[report.launch] = HostProcess(waiting.connection, report.pid, pidfd)
        waiting.forked.set_result(self._hosts[report.launch])

    def _end_hosts(self) -> None:
        """They die with the server. Nobody is left to say how, so the kernel is asked whether."""
        exit_ = self._process.exit.result()
        reason = f"No process could be started, because the fork server ended: {exit_}. The log says why."
        with self._changing:
            self.ended = True
            waiting, self._waiting = self._waiting, {}
        for launch in waiting.values():
            launch.connection.close()
            launch.forked.set_exception(_ServerDied(reason) if self._has_forked else Unavailable(reason))
        for host in self._hosts.values():
            host.kill()
        for host in self._hosts.values():
            host.has_ended(KILLING_S)
            _report_exit(host, -9, f"its fork server ended: {exit_}")


def _report_exit(host: HostProcess, code: int, note: str = "") -> None:
    # Callbacks may launch again, which needs the reader.
    threading.Thread(target=host.report_exit, args=(code, note), name="host's end", daemon=True).start()
