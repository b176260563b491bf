"""Starts each host as a fresh interpreter: seconds and hundreds of megabytes, but CUDA can't be forked."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path

from models_registry.errors import Unavailable
from service.transports.processes.host_process import HostProcess
from service.transports.processes.launch import Launch, require_linux, send_launch

HOST_MODULE = "service.transports.processes.host_start"


class Spawner:
    """`environment` is all that the hosts get."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        require_linux()
        self._environment = dict(environment)
        self._running: set[HostProcess] = set()

    def start(self) -> None:
        """Nothing is needed before a launch."""

    def launch(self, launch: Launch) -> HostProcess:
        process = spawn(HOST_MODULE, (), self._environment)
        self._running.add(process)
        process.exit.add_done_callback(lambda _: self._running.discard(process))
        send_launch(process.socket, launch)
        return process

    def close(self) -> None:
        running = set(self._running)
        for process in running:
            process.kill()
        for process in running:
            process.wait()


def spawn(
    module: str,
    arguments: tuple[str, ...],
    environment: Mapping[str, str],
    kind: socket.SocketKind = socket.SOCK_STREAM,
) -> HostProcess:
    """Run `python -m module SOCKET PARENT *arguments` in a session of its own. Raises `Unavailable`."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    started: Future[HostProcess] = Future()

    def run() -> None:
        try:
            with theirs:
                child = subprocess.Popen(  # noqa: S603 - our own interpreter, our own modules
                    [sys.executable, "-P", "-m", module, str(theirs.fileno()), str(os.getpid()), *arguments],
                    stdin=subprocess.DEVNULL,
                    env={**environment, "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)},
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
            process = HostProcess(ours, child.pid, os.pidfd_open(child.pid))
        except OSError as error:
            ours.close()
            started.set_exception(Unavailable(f"No process could be started: {error}."))
            return
        started.set_result(process)
        process.report_exit(child.wait())

    # The kernel ends a child with the thread that started it (PR_SET_PDEATHSIG), so this thread lives as long.
    threading.Thread(target=run, name=f"parent of {module}", daemon=True).start()
    return started.result()
