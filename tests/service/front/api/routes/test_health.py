"""Health and figures: what a supervisor and a Prometheus read."""

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from apps import ROWS, Start, create, expect, expect_problem, host, settings_in
from databases import Postgres
from engines import eventually
from gated import Gate, gate_named
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from service.bootstrap import create_app


def figures(client: TestClient) -> dict[tuple[str, frozenset[str]], float]:
    """Every figure, by its name and its labels' values."""
    response = client.get("/metrics")
    assert response.status_code == 200
    return {
        (sample.name, frozenset(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def test_a_process_that_answers_lives(client: TestClient) -> None:
    assert expect(client.get("/health/live"), 200) == {"status": "live"}


def test_the_version_is_the_packages(client: TestClient) -> None:
    assert expect(client.get("/version"), 200) == {"version": version("adapter-service")}


def test_times_beyond_ten_seconds_have_buckets_of_their_own(client: TestClient) -> None:
    client.get("/models")
    bounds = {
        float(sample.labels["le"])
        for family in text_string_to_metric_families(client.get("/metrics").text)
        for sample in family.samples
        if sample.name == "adapter_service_request_seconds_bucket"
    }
    assert {10, 30, 60, 120, 300, 600} <= bounds


def test_a_service_with_everything_loaded_is_ready(client: TestClient) -> None:
    assert expect(client.get("/health/ready"), 200) == {"status": "ready", "degraded": []}


def test_verbose_says_how_each_part_is_and_names_no_model(client: TestClient) -> None:
    parts = expect(client.get("/health/ready", params={"verbose": "true"}), 200)["parts"]
    assert (parts["database"], parts["blobs"], parts["models failed"]) == ("ok", "ok", "0")
    assert int(parts["models ready"]) >= 1
    assert int(parts["registry generation"]) >= 1


STILL_LOADING = "The base model 'm' is still loading."


@pytest.fixture
def gate() -> Iterator[Gate]:
    yield (gate := gate_named("starting"))
    gate.open()


@pytest.fixture
def restart(start: Start, gate: Gate) -> Start:
    """Starts a service again that had a model ready, which is built once the gate is open."""
    host(start(), "m", "gated:slow", gate=gate.name)
    gate.shut()
    return start


def test_a_restarted_service_is_ready_once_it_has_the_models_that_it_had(restart: Start, gate: Gate) -> None:
    client = restart()
    gate.wait_for_arrival()
    problem = expect_problem(client.get("/health/ready"), 503, "unavailable")
    assert problem["detail"] == f"Not ready: {STILL_LOADING}"
    expect(client.get("/v2/health/ready"), 503)
    gate.open()
    eventually(lambda: client.get("/health/ready").status_code == 200)
    assert client.get("/models/m").json()["state"] == "ready"
    assert expect(client.get("/health/ready"), 200)["degraded"] == []


def test_a_restarted_service_waits_no_longer_than_its_grace(restart: Start) -> None:
    assert expect(restart(ready_grace=0).get("/health/ready"), 200)["degraded"] == [STILL_LOADING]


def test_a_model_that_is_loaded_anew_is_no_longer_waited_for(restart: Start) -> None:
    client = restart()
    expect(client.post("/models/m/unload"), 200)
    expect(client.post("/models/m/load"), 202)
    assert expect(client.get("/health/ready"), 200)["degraded"] == [STILL_LOADING]


def test_a_model_that_had_never_been_ready_is_not_waited_for(start: Start, gate: Gate) -> None:
    gate.shut()
    source = {"kind": "python", "factory": "gated:slow", "kwargs": {"gate": gate.name}}
    expect(start().post("/models", json={"id": "m", "source": source}), 202)
    assert expect(start().get("/health/ready"), 200)["degraded"] == [STILL_LOADING]


def test_a_model_that_fails_at_the_start_is_waited_for_no_longer(start: Start) -> None:
    host(start(), "m", "gated:other_weights_each_time")
    client = start()
    eventually(lambda: client.get("/health/ready").status_code == 200)
    (degraded,) = client.get("/health/ready").json()["degraded"]
    assert "other weights" in degraded


def test_each_reason_for_not_being_ready_is_one_sentence(restart: Start, gate: Gate, tmp_path: Path) -> None:
    client = restart()
    (tmp_path / "registry.db").rename(tmp_path / "elsewhere")
    (away,) = {expect_problem(client.get(path), 503, "unavailable")["detail"] for path in ("/models", "/events")}
    not_ready = expect_problem(client.get("/health/ready"), 503, "unavailable")["detail"]
    assert not_ready == f"Not ready: {STILL_LOADING} {away}"
    assert away.endswith("what lies there now.")
    verbose = expect_problem(client.get("/health/ready", params={"verbose": "true"}), 503, "unavailable")["detail"]
    assert verbose.startswith(not_ready)
    assert "models loading: 1" in verbose


def test_without_its_blob_store_a_service_is_degraded_but_answers(start: Start, tmp_path: Path) -> None:
    client = start()
    host(client, "mlp", "bases:mlp")
    create(client, "a")
    (tmp_path / "blobs").rename(tmp_path / "away")
    (tmp_path / "blobs").write_text("not a directory")
    assert expect(client.get("/health/ready"), 200)["degraded"]
    expect(client.post("/models/mlp/infer", json={"adapter": "a", "inputs": {"x": ROWS}}), 200)
    response = client.get("/adapters/a/state")
    expect_problem(response, 503, "unavailable")
    assert int(response.headers["retry-after"]) > 0


def test_requests_are_counted_by_their_route_and_not_by_their_address(start: Start) -> None:
    client = start()
    for name in ("one", "two", "x/y"):
        client.get(f"/adapters/{name}")
    counted = figures(client)
    assert counted["adapter_service_requests_total", frozenset({"GET", "/adapters/{name}", "404"})] == 2
    assert counted["adapter_service_requests_total", frozenset({"GET", "none", "404"})] == 1


def test_inferences_and_what_is_in_memory_are_counted(start: Start) -> None:
    client = start()
    host(client, "mlp", "bases:mlp")
    create(client, "a")
    client.post("/models/mlp/infer", json={"inputs": {"x": ROWS}})
    counted = figures(client)
    assert counted["adapter_service_infer_seconds_count", frozenset({"mlp", "forward"})] == 1
    assert counted["adapter_service_models", frozenset({"ready"})] == 1
    assert counted["adapter_service_models", frozenset({"failed"})] == 0
    assert counted["adapter_service_adapter_versions", frozenset({"mlp", "resident"})] == 1


def test_every_answer_says_which_state_of_the_registry_it_saw(start: Start) -> None:
    client = start()
    before = int(client.get("/models").headers["x-registry-generation"])
    host(client, "mlp", "bases:mlp")
    created = client.post("/models/mlp/adapters", json={"name": "a", "config": {"peft_type": "?"}})
    after = int(created.headers["x-registry-generation"])
    assert after > before
    create(client, "a")
    assert int(client.get("/nowhere").headers["x-registry-generation"]) > after


def test_metrics_are_served_from_memory_while_the_database_is_away(postgres: Postgres, tmp_path: Path) -> None:
    with postgres.migrated_database() as url:
        settings = settings_in(tmp_path).model_copy(update={"database_url": url})
        with TestClient(create_app(settings)) as client:
            host(client, "mlp", "bases:mlp")
            create(client, "a")
            with postgres.away(url):
                expect_problem(client.get("/models"), 503, "unavailable")
                counted = figures(client)
            assert counted["adapter_service_models", frozenset({"ready"})] == 1
            assert counted["adapter_service_adapter_versions", frozenset({"mlp", "resident"})] == 1
