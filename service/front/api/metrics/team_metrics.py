"""Requests by team: how many, how they ended, how long they took. So many teams have a series of their own, because
each series costs Prometheus memory; the others share one."""

from collections.abc import Callable, Iterator, Mapping
from typing import Final, TypeAlias

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

WatchTeams: TypeAlias = Callable[[], Mapping[str, tuple[int, int]]]
"""Gives the rows and the texts that each team has in flight."""

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


class TeamSaturation(Collector):
    """What teams have in flight, asked at every scrape. The busiest have series of their own."""

    def __init__(self, watch: WatchTeams) -> None:
        self._watch = watch

    def collect(self) -> Iterator[GaugeMetricFamily]:
        rows = GaugeMetricFamily(
            "adapter_service_team_rows_in_flight", "Rows that wait or run, by team.", labels=["team"]
        )
        texts = GaugeMetricFamily(
            "adapter_service_team_texts_in_flight", "Texts that wait or are written, by team.", labels=["team"]
        )
        busiest = sorted(self._watch().items(), key=lambda item: item[1], reverse=True)
        for team, (team_rows, team_texts) in busiest[:MOST_TEAMS]:
            rows.add_metric([team], team_rows)
            texts.add_metric([team], team_texts)
        if others := [use for _, use in busiest[MOST_TEAMS:]]:
            rows.add_metric([OTHERS], sum(use[0] for use in others))
            texts.add_metric([OTHERS], sum(use[1] for use in others))
        yield from (rows, texts)
