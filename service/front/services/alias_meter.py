"""Counters of aliases' requests: kept in memory, and added to the database's once in a while."""

import threading
from collections import Counter
from collections.abc import Iterable

from models_registry.alias_counters import AliasCounter, AliasCounts, latency_name
from models_registry.registry import Registry

MOST_COUNTERS = 100_000
"""Held at a time. While the database is away for longer, what has no counter yet isn't counted."""


class AliasMeter:
    """Safe under threads."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._counts = Counter[AliasCounter]()
        self._changing = threading.Lock()
        self._writing = threading.Lock()

    def count(self, adapter: str, alias: str, version: int, against: int, names: Iterable[str]) -> None:
        """One more of each of these. Never blocks for long."""
        with self._changing:
            for name in names:
                counter = AliasCounter(adapter, alias, version, against, name)
                if counter in self._counts or len(self._counts) < MOST_COUNTERS:
                    self._counts[counter] += 1

    def count_request(self, adapter: str, alias: str, version: int, seconds: float | None) -> None:
        """One that was answered after so long, or failed (None)."""
        names = ["failed"] if seconds is None else ["answered", latency_name("latency", seconds)]
        self.count(adapter, alias, version, 0, names)

    def flush(self) -> None:
        """Add to the database what isn't there yet. Raises `Unavailable`, `NoRoom`; it is added the next time then."""
        with self._writing:
            with self._changing:
                taken, self._counts = self._counts, Counter()
            if not taken:
                return
            try:
                self._registry.add_alias_counts(taken)
            except BaseException:
                with self._changing:
                    self._counts.update(taken)
                raise

    def read(self, adapter: str, alias: str) -> AliasCounts:
        """All processes' counts, but for what others haven't added yet. Raises `Unavailable`."""
        self.flush()
        return self._registry.read_alias_counts(adapter, alias)
