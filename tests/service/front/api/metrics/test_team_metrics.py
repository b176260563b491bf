"""Figures by team: each has its own, and no number of teams makes more series than the service bounds."""

from apps import Start
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from service.front.api.metrics.team_metrics import MOST_TEAMS, OTHERS, TeamMetrics, TeamSaturation


def counts(text: str) -> dict[tuple[str, str], float]:
    return {
        (sample.labels["team"], sample.labels["status"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "adapter_service_team_requests_total"
    }


def test_a_callers_requests_count_for_their_team(start: Start) -> None:
    client = start()
    client.get("/models")
    client.get("/adapters/nobody")
    client.get("/health/live")
    assert counts(client.get("/metrics").text) == {("default", "2xx"): 1, ("default", "4xx"): 1}


def test_teams_beyond_the_bound_share_a_series() -> None:
    registry = CollectorRegistry()
    metrics = TeamMetrics(registry)
    for number in range(MOST_TEAMS + 3):
        metrics.count_request(f"team-{number}", 200, 0.1)
    metrics.count_request("team-0", 200, 0.1)
    counted = counts(generate_latest(registry).decode())
    assert len(counted) == MOST_TEAMS + 1
    assert (counted[OTHERS, "2xx"], counted["team-0", "2xx"]) == (3, 2)


def test_what_teams_have_in_flight_is_told_of_the_busiest() -> None:
    registry = CollectorRegistry()
    registry.register(TeamSaturation(lambda: {f"team-{rows}": (rows, 1) for rows in range(1, MOST_TEAMS + 3)}))
    families = {family.name: family for family in text_string_to_metric_families(generate_latest(registry).decode())}
    rows = {s.labels["team"]: s.value for s in families["adapter_service_team_rows_in_flight"].samples}
    texts = {s.labels["team"]: s.value for s in families["adapter_service_team_texts_in_flight"].samples}
    assert len(rows) == MOST_TEAMS + 1
    assert (rows[f"team-{MOST_TEAMS + 2}"], rows[OTHERS], texts[OTHERS]) == (MOST_TEAMS + 2, 1 + 2, 2)
