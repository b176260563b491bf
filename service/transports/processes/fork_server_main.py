"""The fork server's own process: it imports, forks and reaps, and never computes."""

import gc
import importlib
import os
import select
import signal
import socket
import sys
from dataclasses import dataclass

import msgspec

from service.transports.processes.fork_messages import Ended, Forked, Refused, Report
from service.transports.processes.host_start import end_with, run_host

_LONGEST_NUMBER = 32


def main() -> None:
    """Of `python -m … SOCKET PARENT MODULE…`."""
    descriptor, parent, *modules = sys.argv[1:]
    os.set_inheritable(int(descriptor), False)
    control = socket.socket(fileno=int(descriptor))
    end_with(int(parent))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # What is imported stays: to look for garbage in it takes a fifth of the imports' time. A later collection would
    # write to all these objects, and a page that is written to is no longer shared.
    gc.disable()
    for module in modules:
        importlib.import_module(module)
    gc.freeze()
    gc.enable()
    ForkLoop(control).run()


@dataclass(frozen=True, slots=True)
class Child:
    launch: int
    pid: int


class ForkLoop:
    """Forks for each packet that the front sends with a socket; reports whether that worked and how each child
    ended."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._children: dict[int, Child] = {}
        """By pidfd, which is readable once the child has ended."""
        self._events = select.poll()
        self._events.register(control, select.POLLIN)

    def run(self) -> None:
        """Until the front closes its end."""
        while True:
            for descriptor, _ in self._events.poll():
                if descriptor in self._children:
                    self._reap(descriptor)
                elif not self._fork():
                    return

    def _fork(self) -> bool:
        number, descriptors, _, _ = socket.recv_fds(self._control, _LONGEST_NUMBER, 1)
        if not number:
            return False
        launch = int(number)
        server = os.getpid()
        with socket.socket(fileno=descriptors[0]) as connection:
            connection.set_inheritable(False)
            try:
                pid = os.fork()
            except OSError as error:
                self._report(Refused(launch, str(error)))
                return True
            if pid == 0:
                self._leave()
                run_host(connection, server)
            pidfd = os.pidfd_open(pid)  # nobody else reaps it, so the number is still its own
        self._children[pidfd] = Child(launch, pid)
        self._events.register(pidfd, select.POLLIN)
        self._report(Forked(launch, pid), pidfd)
        return True

    def _leave(self) -> None:
        """In the child: a host has no part in what the server holds, and signals to its group reach nobody else.

        It stays in the server's session, because between sessions Linux ignores niceness (sched(7), autogroup).
        """
        os.setpgid(0, 0)
        self._control.close()
        for pidfd in self._children:
            os.close(pidfd)

    def _reap(self, pidfd: int) -> None:
        child = self._children.pop(pidfd)
        self._events.unregister(pidfd)
        os.close(pidfd)
        _, status = os.waitpid(child.pid, 0)
        self._report(Ended(child.launch, os.waitstatus_to_exitcode(status)))

    def _report(self, report: Report, *descriptors: int) -> None:
        socket.send_fds(self._control, [msgspec.msgpack.encode(report)], list(descriptors))


if __name__ == "__main__":
    main()
