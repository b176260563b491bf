"""The dashboard and the alerts ask for figures that the service has, by labels that these have."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from apps import ROWS, create, expect, host, settings_in
from manifests import read
from prometheus_client.parser import text_string_to_metric_families
from promql_parser import Expr, VectorSelector, parse, walk
from starlette.testclient import TestClient

from service.bootstrap import create_app

DOCKER = Path(__file__).parents[2] / "docker"


def alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((DOCKER / "prometheus" / "alerts.yaml").read_text())["groups"]
    return group["rules"]


def panels() -> list[dict[str, Any]]:
    dashboard = json.loads((DOCKER / "grafana" / "dashboard.json").read_text())
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def queries() -> Iterator[str]:
    for alert in alerts():
        yield alert["expr"]
    for panel in panels():
        for target in panel["targets"]:
            yield target["expr"].replace("$__rate_interval", "5m").replace("$model", ".*")


def selectors(query: str) -> list[VectorSelector]:
    found: list[VectorSelector] = []

    def visit(part: Expr) -> bool:
        if isinstance(part, VectorSelector):
            found.append(part)
        return True

    walk(parse(query), visit)
    assert found, query
    return found


@pytest.fixture(scope="module")
def labels_of(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Every figure's labels, of a service that has hosted and answered."""
    labels: defaultdict[str, set[str]] = defaultdict(set)
    with TestClient(create_app(settings_in(tmp_path_factory.mktemp("figures")))) as client:
        host(client, "mlp", "bases:mlp")
        create(client, "tone")
        expect(client.post("/models/mlp/infer", json={"adapter": "tone", "inputs": {"x": ROWS}}), 200)
        for family in text_string_to_metric_families(client.get("/metrics").text):
            for sample in family.samples:
                labels[sample.name] |= set(sample.labels)
    # They come with a process of the model's own.
    labels |= {name: {"model"} for name in ("adapter_service_host_rss_bytes", "adapter_service_host_restarts_total")}
    return labels


@pytest.mark.parametrize("query", sorted(set(queries())))
def test_each_query_asks_for_what_there_is(query: str, labels_of: dict[str, set[str]]) -> None:
    for selector in selectors(query):
        assert selector.name in labels_of
        assert {matcher.name for matcher in selector.matchers.matchers} <= labels_of[selector.name]
    grouped = {label.strip() for labels in re.findall(r"by \(([^)]*)\)", query) for label in labels.split(",")}
    assert grouped <= set().union(*(labels_of[selector.name or ""] for selector in selectors(query)))


def test_the_autoscaler_asks_for_a_figure_that_each_front_has(labels_of: dict[str, set[str]]) -> None:
    (metric,) = read("autoscaling/autoscaler.yaml")["spec"]["metrics"]
    (rule,) = read("autoscaling/prometheus-adapter.yaml")["rules"]["custom"]
    name, query = metric["pods"]["metric"]["name"], rule["metricsQuery"]
    assert labels_of[name] == {"model"}
    assert rule["seriesQuery"].startswith(f"{name}{{")
    # As prometheus-adapter fills it in. The sum is over models, whose label is the one that the pod's figure lacks.
    filled = query.replace("<<.Series>>", name).replace("<<.LabelMatchers>>", 'pod="a"').replace("<<.GroupBy>>", "pod")
    assert [selector.name for selector in selectors(filled)] == [name]
    assert filled.startswith("sum(")


def test_each_alert_says_what_is_wrong_and_what_to_do() -> None:
    for alert in alerts():
        assert alert["labels"]["severity"] in {"page", "ticket"}
        assert set(alert["annotations"]) == {"summary", "what_to_do"}
    names = [alert["alert"] for alert in alerts()]
    assert len(names) == len(set(names))


def test_panels_have_titles_and_places_of_their_own() -> None:
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels()]
    titles = [panel["title"] for panel in panels()]
    assert len(set(places)) == len(places)
    assert len(set(titles)) == len(titles)


def test_documents_that_alerts_name_are_there() -> None:
    named = set(re.findall(r"docs/[\w/]+\.md", (DOCKER / "prometheus" / "alerts.yaml").read_text()))
    assert named
    assert [path for path in named if not (DOCKER.parent / path).is_file()] == []
