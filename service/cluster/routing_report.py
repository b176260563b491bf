"""What a replica tells routers: a report of `replica_view`, as plain values that Serve carries."""

from collections.abc import Mapping
from typing import Any

from service.cluster.replica_view import TAIL, ReplicaReport
from service.protocol.types import HostStatus

MOST = 4096
"""References in a report: those that were used last, and the few that would be evicted first."""
ROOM = 16
"""Where nothing is in memory yet, nobody knows how much an adapter takes."""


def routing_stats(status: HostStatus, number: int, capacity: int) -> dict[str, Any]:
    """`number` is another one for each report."""
    adapters, queue = status.stats.adapters, status.stats.queue
    count = adapters.resident + adapters.staged
    room = (adapters.max_bytes - adapters.bytes) * count // adapters.bytes if adapters.bytes else ROOM
    return {
        "number": number,
        "resident": _most(status.resident),
        "load": max(queue.rows, queue.requests) + status.stats.texts.running,
        "capacity": capacity,
        "room": max(room, 0),
    }


def report_of(stats: Mapping[str, Any]) -> ReplicaReport:
    return ReplicaReport(tuple(stats["resident"]), stats["load"], stats["capacity"], stats["room"])


def _most(resident: tuple[str, ...]) -> list[str]:
    return list(resident) if len(resident) <= MOST else [*resident[:TAIL], *resident[TAIL - MOST :]]
