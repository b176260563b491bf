"""Traces: what a collector gets of a request, of nothing else, and without secrets."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest
from apps import ROWS, create, expect, host, settings_in
from collector import CollectedSpan, Collector, collecting
from pydantic import SecretStr
from scripted_texts import ENDED, Call, scripted
from starlette.testclient import TestClient

from service.bootstrap import create_app
from service.front.api.telemetry import is_traced

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
KEY = "ask_the-operators-own"
Talk: TypeAlias = Callable[[TestClient], None]


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
        yield collector


def trace(directory: Path, talk: Talk) -> None:
    """Talk to a service that is traced, until it has sent all of its spans."""
    app = create_app(settings_in(directory, admin_key=SecretStr(KEY)))
    with TestClient(app, headers={"Authorization": f"Bearer {KEY}"}) as client:
        talk(client)


def infer(client: TestClient) -> None:
    host(client, "mlp", "bases:mlp")
    create(client, "tone")
    expect(client.post("/models/mlp/infer", json={"adapter": "tone", "inputs": {"x": ROWS}}, headers=TRACEPARENT), 200)


def the_request(collector: Collector) -> CollectedSpan:
    (request,) = [span for span in collector.spans if span.trace == TRACE and span.parent == PARENT]
    return request


def test_an_inference_shows_its_stages(collector: Collector, tmp_path: Path) -> None:
    trace(tmp_path, infer)
    request = the_request(collector)
    assert request.name == "POST /models/{model_id}/infer"
    assert request.service == "adapter-service"
    attempt = collector.below(request)["infer"]
    assert attempt.attributes["model"] == "mlp"
    stages = collector.below(attempt)
    assert {"resolve", "wait", "forward"} <= set(stages)
    assert attempt.begun_ns <= stages["wait"].begun_ns <= stages["forward"].begun_ns
    assert stages["forward"].ended_ns <= attempt.ended_ns


def test_steps_that_write_are_events(collector: Collector, tmp_path: Path) -> None:
    def write(call: Call) -> None:
        call.write("Yo ")
        call.write("ho!", end=ENDED)
        call.finish("Yo ho!")

    def ask(client: TestClient) -> None:
        host(client, "mlp", "bases:mlp")
        body = {"inputs": {"text": ["a"]}, "parameters": {}}
        with scripted() as script:
            script.act = write
            expect(client.post("/models/mlp/infer", json=body, headers=TRACEPARENT), 200)

    trace(tmp_path, ask)
    assert collector.below(the_request(collector))["infer"].events == ("step", "step")


def test_a_creation_shows_its_blob_and_its_statements(collector: Collector, tmp_path: Path) -> None:
    trace(tmp_path, infer)
    (creation,) = collector.named("POST /models/{model_id}/adapters")
    spans = [span for span in collector.spans if span.trace == creation.trace]
    assert "put blob" in {span.name for span in spans}
    statements = [span.attributes["db.query.text"] for span in spans if "db.query.text" in span.attributes]
    assert any(statement.startswith("INSERT INTO versions") for statement in statements)
    assert not any("tone" in statement for statement in statements), "values are the callers' own"


def test_nothing_is_traced_without_a_request(collector: Collector, tmp_path: Path) -> None:
    def probe(client: TestClient) -> None:
        expect(client.get("/health/ready"), 200)
        assert client.get("/metrics").status_code == 200

    trace(tmp_path, probe)
    assert collector.spans == []


def test_a_failure_is_marked_and_quotes_nobody(collector: Collector, tmp_path: Path) -> None:
    def fail(client: TestClient) -> None:
        host(client, "mlp", "bases:mlp")
        body = {"adapter": "a-secret-name", "inputs": {"x": ROWS}}
        expect(client.post("/models/mlp/infer", json=body, headers=TRACEPARENT), 404)

    trace(tmp_path, fail)
    attempt = collector.below(the_request(collector))["infer"]
    assert attempt.failed
    assert "a-secret-name" not in str(collector.spans)
    assert KEY not in str(collector.spans)


@pytest.mark.parametrize(
    ("environment", "traced"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_the_standard_variables_decide(environment: dict[str, str], traced: bool) -> None:
    assert is_traced(environment) == traced
