"""Adapters whose blobs are to be read. Their owners take turns: no team waits for all that another asked for."""

import threading
from collections.abc import Callable
from concurrent.futures import Executor

from service.host.adapters.cache_entry import CacheEntry
from service.host.scheduling.team_turns import TeamTurns


class ReadQueue:
    """`stagers` run `read` with one entry after the other. Any thread may add."""

    def __init__(self, stagers: Executor, read: Callable[[CacheEntry], None]) -> None:
        self._stagers = stagers
        self._read = read
        self._lock = threading.Lock()
        self._turns: TeamTurns[CacheEntry] = TeamTurns()

    def add(self, entry: CacheEntry) -> None:
        with self._lock:
            self._turns.add(entry.team, entry)
        self._stagers.submit(self._read_next)

    def _read_next(self) -> None:
        with self._lock:
            entry = self._turns.pop()
        self._read(entry)
