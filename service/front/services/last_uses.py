"""When adapters were used last: kept in memory, and written to the database once in a while."""

import threading
from collections.abc import Collection
from datetime import UTC, datetime

from models_registry.records import AdapterVersion
from models_registry.registry import Registry


class LastUses:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._unwritten: dict[str, datetime] = {}
        self._writing = threading.Lock()

    def note(self, versions: Collection[AdapterVersion]) -> None:
        """A request uses them now. Never blocks."""
        now = datetime.now(UTC)
        for version in versions:
            self._unwritten[version.adapter] = now

    def flush(self) -> None:
        """Write what isn't written yet. Raises `Unavailable`, `NoRoom`; it is written the next time then."""
        with self._writing:
            taken, self._unwritten = self._unwritten, {}
            if not taken:
                return
            try:
                self._registry.note_uses(taken)
            except BaseException:
                self._unwritten = {**taken, **self._unwritten}
                raise
