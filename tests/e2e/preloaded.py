"""`adapterctl serve` without its imports, which are most of a start: a fork of one process that has done them for all
of a worker's tests.

Behind them it does what the command does, in an environment and a directory of its own. The process that forks its
hosts is begun as such a fork, too. Tests of how the command starts, and of the service's own processes, start the
command.
"""

import os
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from threading import Thread
from typing import NoReturn

import msgspec

from service.transports.local_process import PRELOADED
from service.transports.processes import fork_server, fork_server_main
from service.transports.processes.environment import host_environment
from service.transports.processes.fork_server import ForkServer
from service.transports.processes.host_process import HostProcess
from service.transports.processes.host_start import end_with
from service.transports.processes.launch import Launch
from service.transports.processes.spawner import spawn

SERVE = "service.cli:main"
LONGEST_ENVIRONMENT = 1 << 20
IMPORTED = ("e2e.preloaded", "service.bootstrap", "service.server", "service.cli", *PRELOADED)
# As `quiet_libraries` and a service of the tests have it.
QUIET = {
    "TQDM_DISABLE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_NUM_THREADS": "1",
}

IMPORTS = ForkServer(IMPORTED, host_environment({**os.environ, **QUIET}))
"""Begins with the first service, and ends with the process that tests."""


class Order(msgspec.Struct, frozen=True):
    """`main`, as `module:function`, is called as `adapterctl serve` and ends the process."""

    main: str
    directory: str
    environment: Mapping[str, str]
    log: str


class Preloaded:
    """A running one, with those of `subprocess.Popen`'s methods that a `Service` uses."""

    def __init__(self, main: str, directory: Path, environment: Mapping[str, str], log: Path) -> None:
        paths = tuple(dict.fromkeys([*environment["PYTHONPATH"].split(":"), *sys.path]))
        order = Order(main, str(directory), environment, str(log))
        self._process = IMPORTS.launch(Launch("e2e.preloaded:begin", msgspec.json.encode(order), paths=paths))
        self._process.socket.close()
        self.pid = self._process.pid

    def poll(self) -> int | None:
        ended = self._process.wait(0)
        return ended and ended.code

    def wait(self, timeout: float) -> int:
        ended = self._process.wait(timeout)
        assert ended is not None, f"the service still runs after {timeout:.0f} s"
        return ended.code

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()


def begin(_connection: socket.socket, order: bytes) -> None:
    """The entry of a service's process."""
    start = msgspec.json.decode(order, type=Order)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    Path("/proc/self/oom_score_adj").write_text("0")
    os.environ.clear()
    os.environ.update(start.environment)
    os.chdir(start.directory)
    with Path(start.log).open("ab") as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
    sys.argv = ["adapterctl", "serve"]
    _begin_fork_server()
    module, _, function = start.main.partition(":")
    getattr(__import__(module, fromlist=[function]), function)()


def _begin_fork_server() -> None:
    """Fork the one for hosts now, while this process has no threads. It waits until the front starts it; another one,
    after its death, is spawned."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    front = os.getpid()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _be_fork_server(theirs, front)
    theirs.close()

    def spawn_forked(
        module: str, arguments: tuple[str, ...], environment: Mapping[str, str], kind: socket.SocketKind
    ) -> HostProcess:
        assert (module, arguments, kind) == (fork_server.SERVER_MODULE, PRELOADED, socket.SOCK_SEQPACKET)
        fork_server.spawn = spawn
        process = HostProcess(ours, pid, os.pidfd_open(pid))
        Thread(target=_reap, args=(process,), name="parent of the fork server", daemon=True).start()
        ours.send(msgspec.json.encode(environment))
        return process

    fork_server.spawn = spawn_forked


def _reap(process: HostProcess) -> None:
    _, status = os.waitpid(process.pid, 0)
    process.report_exit(os.waitstatus_to_exitcode(status))


def _be_fork_server(control: socket.socket, front: int) -> NoReturn:
    code = 1
    try:
        os.setsid()
        end_with(front)
        if environment := control.recv(LONGEST_ENVIRONMENT):
            os.environ.clear()
            os.environ.update(msgspec.json.decode(environment, type=dict[str, str]))
            sys.argv = [fork_server.SERVER_MODULE, str(control.detach()), str(front), *PRELOADED]
            fork_server_main.main()
        code = 0
    finally:
        os._exit(code)
