"""`GET /models/{id}/host`, and what a build is at: with hosts in processes of their own, and in the service's."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from apps import ROWS, create, expect, expect_problem, host, settings_in
from engines import eventually
from gated import gate_named
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from service.bootstrap import create_app


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """`mlp` runs in a process of its own."""
    settings = settings_in(tmp_path_factory.mktemp("apart"), transport="local_process")
    with TestClient(create_app(settings)) as client:
        host(client, "mlp", "bases:mlp")
        yield client


def figure(client: TestClient, name: str) -> float:
    families = text_string_to_metric_families(client.get("/metrics").text)
    return next(sample.value for family in families for sample in family.samples if sample.name == name)


def told(client: TestClient) -> dict[str, Any]:
    return expect(client.get("/models/mlp/host"), 200)


def test_the_process_of_a_model_is_shown(apart: TestClient) -> None:
    process = told(apart)
    assert psutil.Process(process["pid"]).is_running()
    assert process["pid"] != os.getpid()
    assert process["rss_bytes"] > 1 << 20
    assert process["age_s"] > 0
    assert (process["state"], process["busy_s"]) == ("ready", None)


def test_a_death_is_shown_and_counted_and_used_adapters_are_reloaded(apart: TestClient) -> None:
    create(apart, "kept")
    expect(apart.post("/models/mlp/adapters/kept/load?pin=true"), 200)
    before = told(apart)
    answer = expect(apart.post("/models/mlp/infer", json={"adapter": "kept", "inputs": {"x": ROWS}}), 200)
    os.kill(before["pid"], signal.SIGKILL)
    eventually(lambda: told(apart)["restarts"] == before["restarts"] + 1 and told(apart)["state"] == "ready")
    after = told(apart)
    assert after["pid"] != before["pid"]
    assert "SIGKILL" in after["last_death"]
    assert figure(apart, "adapter_service_host_restarts_total") == after["restarts"]
    assert figure(apart, "adapter_service_host_rss_bytes") > 1 << 20
    assert expect(apart.get("/adapters/kept"), 200)["versions"][0]["pinned"]
    again = expect(apart.post("/models/mlp/infer", json={"adapter": "kept", "inputs": {"x": ROWS}}), 200)
    assert again["outputs"] == answer["outputs"]


def test_a_model_in_the_services_own_process_has_no_other(client: TestClient) -> None:
    process = told(client)
    assert (process["pid"], process["rss_bytes"], process["age_s"]) == (None, None, None)
    expect_problem(client.get("/models/nowhere/host"), 404, "not-found")


def test_the_step_of_a_build_is_shown_until_it_is_ready(tmp_path: Path) -> None:
    gate = gate_named("progress")
    gate.shut()
    with TestClient(create_app(settings_in(tmp_path))) as client:
        source = {"kind": "python", "factory": "gated:slow", "kwargs": {"gate": "progress"}}
        expect(client.post("/models", json={"id": "slow", "source": source}), 202)
        gate.wait_for_arrival()
        progress = expect(client.get("/models/slow"), 200)["progress"]
        assert progress["step"] == "building"
        assert progress["seconds"] > 0
        assert progress["fraction"] is None
        gate.open()
        eventually(lambda: client.get("/models/slow").json()["state"] == "ready")
        eventually(lambda: client.get("/models/slow").json()["progress"] is None)
        expect(client.post("/models/slow/unload"), 200)
        gate.shut()
        expect(client.post("/models/slow/load"), 202)
        gate.wait_for_arrival()
        assert 0 < expect(client.get("/models/slow"), 200)["progress"]["fraction"] < 1
        gate.open()


def test_a_model_that_is_ready_says_that_it_is_probed(tmp_path: Path) -> None:
    gate = gate_named("probe")
    gate.shut()
    with TestClient(create_app(settings_in(tmp_path))) as client:
        source = {"kind": "python", "factory": "gated:mlp", "kwargs": {"gate": "probe"}}
        body = {"id": "probed", "source": source, "example_inputs": {"x": ROWS}}
        expect(client.post("/models", json=body), 202)
        eventually(lambda: client.get("/models/probed").json()["state"] == "ready")
        gate.wait_for_arrival()
        assert expect(client.get("/models/probed"), 200)["progress"]["step"] == "probing"
        gate.open()
        eventually(lambda: client.get("/models/probed").json()["progress"] is None)
