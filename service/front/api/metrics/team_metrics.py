"""Requests by team: how many, how they ended, how long they took. So many teams have a series of their own, because
each series costs Prometheus memory; the others share one."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram

MOST_TEAMS: Final = 100
OTHERS: Final = "(others)"
"""No team's name has parentheses."""
SECONDS: Final = (0.01, 0.05, 0.1, 0.5, 1, 5, 30)


class TeamMetrics:
    """The first teams that call have series of their own."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._named: set[str] = set()
        self._requests = Counter(
            "adapter_service_team_requests",
            "HTTP requests answered, by the caller's team and the status's first digit.",
            ("team", "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            "adapter_service_team_request_seconds",
            "Time to answer, by the caller's team.",
            ("team",),
            registry=registry,
            buckets=SECONDS,
        )

    def count_request(self, team: str, status: int, seconds: float) -> None:
        label = self._label_of(team)
        self._requests.labels(label, f"{status // 100}xx").inc()
        self._seconds.labels(label).observe(seconds)

    def _label_of(self, team: str) -> str:
        if team not in self._named and len(self._named) >= MOST_TEAMS:
            return OTHERS
        self._named.add(team)
        return team
