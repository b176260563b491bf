"""When adapters were used last: kept in memory, and written to the database once in a while."""

import threading
from collections.abc import Collection
from datetime import UTC, datetime

from models_registry.records import AdapterVersion
from models_registry.registry import Registry


class LastUses:
    """Safe under threads."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._unwritten: dict[str, datetime] = {}
        self._changing = threading.Lock()
        self._writing = threading.Lock()

    def record(self, versions: Collection[AdapterVersion]) -> None:
        """A request uses them now. Never blocks for long."""
        now = datetime.now(UTC)
        with self._changing:
            self._unwritten.update({version.adapter: now for version in versions})

    def flush(self) -> None:
        """Write what isn't written yet. Raises `Unavailable`, `NoRoom`; it is written the next time then."""
        with self._writing:
            with self._changing:
                taken, self._unwritten = self._unwritten, {}
            if not taken:
                return
            try:
                self._registry.note_uses(taken)
            except BaseException:
                with self._changing:
                    self._unwritten = {**taken, **self._unwritten}
                raise
