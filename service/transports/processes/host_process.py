"""One host's process, as the front sees it: its socket, its end, its memory."""

import os
import select
import signal
import socket
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass

import psutil


@dataclass(frozen=True, slots=True)
class Exit:
    """`code` is what the process exited with, or minus the number of the signal that ended it."""

    code: int
    note: str = ""

    @property
    def signal(self) -> str | None:
        """`SIGSEGV`, `SIGKILL`, …; None where the process exited by itself."""
        if self.code >= 0:
            return None
        try:
            return signal.Signals(-self.code).name
        except ValueError:  # those for real time have no names
            return f"signal {-self.code}"

    def __str__(self) -> str:
        name = self.signal or f"exit code {self.code}"
        return f"{name} ({self.note})" if self.note else name


class HostProcess:
    """`socket` is the front's end; the caller of `launch` closes it.

    `exit` is set once the process has ended; its callbacks run in a thread of their own.
    """

    def __init__(self, connection: socket.socket, pid: int, pidfd: int) -> None:
        self.socket = connection
        self.pid = pid
        self.exit: Future[Exit] = Future()
        self._pidfd: int | None = pidfd
        self._using_pidfd = threading.Lock()
        self._killed = False
        self._started_at = time.monotonic()

    @property
    def age_s(self) -> float:
        return time.monotonic() - self._started_at

    def kill(self) -> None:
        """SIGKILL, at any time and any number of times. It never reaches another process that got the same number."""
        self._send(signal.SIGKILL)

    def wait(self, timeout_s: float | None = None) -> Exit | None:
        """How it ended; None where it still runs after `timeout_s`."""
        try:
            return self.exit.result(timeout_s)
        except TimeoutError:
            return None

    def rss_bytes(self) -> int:
        """0 once it has ended."""
        try:
            rss = psutil.Process(self.pid).memory_info().rss
        except psutil.NoSuchProcess:
            return 0
        # The process behind this descriptor has had its number all the time.
        return rss if self._send(0) else 0

    def has_ended(self, timeout_s: float) -> bool:
        """Whether it ends within `timeout_s`; asked of the kernel, for those whose parent can't report it any more."""
        with self._using_pidfd:
            if self._pidfd is None:
                return True
            ended = select.poll()
            ended.register(self._pidfd, select.POLLIN)
            return bool(ended.poll(timeout_s * 1000))

    def report_exit(self, code: int, note: str = "") -> None:
        """For its parent, once it has reaped the process."""
        with self._using_pidfd:
            if self._pidfd is not None:
                os.close(self._pidfd)
            self._pidfd = None
            if code == -signal.SIGKILL and not self._killed:
                note = note or "out of memory?"
        self.exit.set_result(Exit(code, note))

    def _send(self, number: int) -> bool:
        with self._using_pidfd:
            if self._pidfd is None:
                return False
            self._killed |= number == signal.SIGKILL
            try:
                signal.pidfd_send_signal(self._pidfd, number)
            except ProcessLookupError:
                return False
            return True
