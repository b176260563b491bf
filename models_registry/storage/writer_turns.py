"""One writer of this process at a time, because the registry has one anyway.

A writer that waits for its turn holds no connection, so readers find one however many wait. And most of those that
wait behind a change that doesn't end give up soon, so that they don't hold every thread of the service.
"""

import threading
from collections.abc import Generator
from contextlib import contextmanager

from models_registry.errors import Unavailable

PATIENT = 16
"""Writers that wait for long. A service answers calls in 40 threads; the others are for those that only read."""
TOO_LONG = "Another change takes very long, so that this one was not made; try again."


class WriterTurns:
    """Safe under threads. A thread that has its turn takes no second one."""

    def __init__(self, patience_s: float, *, crowded_s: float = 5.0) -> None:
        """The first `PATIENT` that wait do so for `patience_s`, those behind them for `crowded_s`."""
        self._patience_s = patience_s
        self._crowded_s = crowded_s
        self._turn = threading.Lock()
        self._patient = threading.Semaphore(PATIENT)
        self._counting = threading.Lock()
        self._waiting = 0

    @property
    def waiting(self) -> int:
        """Threads that have asked for a turn and have none yet."""
        return self._waiting

    @contextmanager
    def take(self) -> Generator[None]:
        """Hold the turn. Raises `Unavailable` where it didn't come in time."""
        if not self._wait():
            raise Unavailable(TOO_LONG)
        try:
            yield
        finally:
            self._turn.release()

    def _wait(self) -> bool:
        patient = self._patient.acquire(blocking=False)
        self._count(1)
        try:
            return self._turn.acquire(timeout=self._patience_s if patient else self._crowded_s)
        finally:
            self._count(-1)
            if patient:
                self._patient.release()

    def _count(self, change: int) -> None:
        with self._counting:
            self._waiting += change
