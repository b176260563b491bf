"""What a front knows of one replica: what it reported, and what this front has sent there since."""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass

GRACE_S = 2.0
"""A report may be a second old: it may not know yet of what was sent since."""
TAIL = 8


@dataclass(frozen=True, slots=True)
class ReplicaReport:
    """What a replica says of itself about once a second: the keys of the versions `resident` in it, least recently used
    first; the rows and sequences that wait or run; how many it takes at a time (`capacity`); how many more versions
    would fit (`room`)."""

    resident: tuple[str, ...] = ()
    load: int = 0
    capacity: int = 64
    room: int = 0


class ReplicaView:
    """`load` is what it has to do, as a part of what it takes at a time: above 1, some waits. `rank` orders replicas
    the same way in every front."""

    __slots__ = (
        "_added",
        "_in_flight",
        "_reported",
        "_sent_at",
        "capacity",
        "id",
        "keys",
        "load",
        "rank",
        "room",
        "tail",
    )

    def __init__(self, id: str) -> None:
        self.id = id
        self.rank = zlib.crc32(id.encode())
        self.capacity = 64
        self.keys: set[str] = set()
        self.tail: tuple[str, ...] = ()
        self.room = 1
        self.load = 0.0
        self._sent_at: dict[str, float] = {}
        self._reported = 0
        self._added = 0  # since the report: sent less completed
        self._in_flight = 0

    def send(self, keys: Iterable[str], rows: int, now: float) -> list[str]:
        """A request was sent there. Returns those of its `keys` that are loaded for it."""
        loads = [key for key in keys if key not in self.keys]
        for key in loads:
            self.keys.add(key)
            self._sent_at[key] = now
            self.room -= 1
            self.tail = self.tail[1:]
        self._count(rows)
        return loads

    def complete(self, rows: int) -> None:
        """A request of so many rows was answered, or is nobody's any more."""
        self._count(-rows)

    def report(self, report: ReplicaReport, now: float) -> tuple[set[str], set[str]]:
        """Returns the keys that it has now and those that it no longer has."""
        resident = set(report.resident)
        recent = {key: at for key, at in self._sent_at.items() if key not in resident and now - at < GRACE_S}
        self._sent_at = recent
        resident.update(recent)
        arrived, gone = resident - self.keys, self.keys - resident
        self.keys = resident
        self.tail = report.resident[:TAIL]
        self.room = report.room - len(recent)
        self.capacity = max(report.capacity, 1)
        self._reported, self._added = report.load, 0
        self._count(0)
        return arrived, gone

    def _count(self, rows: int) -> None:
        self._in_flight += rows
        self._added += rows
        self.load = max(self._in_flight, self._reported + self._added) / self.capacity
