"""How many replicas a base model should have, by the work that waits in front of them and the texts that they write."""

import math
from collections.abc import Mapping
from typing import Any, Protocol

from service.protocol.stats import HostStats

WORK = "waiting_work"
"""The metric that a replica reports."""


def waiting_work(stats: HostStats) -> float:
    """Rows that wait for a forward (a request whose inputs are still read is at least one), and texts that are
    written."""
    return float(max(stats.queue.rows, stats.queue.requests) + stats.texts.running)


class Observed(Protocol):
    """What is read of Serve's `AutoscalingContext`."""

    @property
    def target_num_replicas(self) -> int: ...

    @property
    def aggregated_metrics(self) -> Mapping[str, Mapping[Any, float]] | None: ...


class ByWaitingWork:
    """A policy of Serve's: so many replicas that each has `target` rows and texts. Serve itself keeps to the bounds,
    and waits before it follows."""

    def __init__(self, target: float) -> None:
        self._target = target

    def __call__(self, context: Observed) -> tuple[int, dict[str, Any]]:
        reported = (context.aggregated_metrics or {}).get(WORK)
        if not reported:  # nothing is known yet
            return context.target_num_replicas, {}
        return math.ceil(sum(reported.values()) / self._target), {}
