"""Removing versions and adapters over HTTP, while requests use them and not."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from apps import ROWS, SAFETENSORS, Start, create, expect, expect_problem, host
from engines import eventually
from gated import gate_named
from safetensors.torch import load, save
from starlette.testclient import TestClient


def add_version(client: TestClient, name: str) -> Any:
    state = client.get(f"/adapters/{name}/state").content
    halved = save({key: tensor / 2 for key, tensor in load(state).items()})
    return expect(client.put(f"/adapters/{name}/state", content=halved, headers=SAFETENSORS), 201)


def test_a_removed_version_is_404_and_its_number_is_never_reused(client: TestClient) -> None:
    create(client, "pruned")
    add_version(client, "pruned")
    response = client.delete("/adapters/pruned/versions/2")
    assert (response.status_code, response.content) == (204, b"")

    expect_problem(client.get("/adapters/pruned/state?version=2"), 404, "not-found")
    expect_problem(client.delete("/adapters/pruned/versions/2"), 404, "not-found")
    assert client.get("/adapters/pruned").json()["reference"] == "pruned@1"
    assert add_version(client, "pruned")["version"] == 3


def test_the_only_version_is_removed_with_its_adapter_alone(client: TestClient) -> None:
    create(client, "only")
    for query in ("", "?drain=true"):
        problem = expect_problem(client.delete(f"/adapters/only/versions/1{query}"), 409, "conflict")
        assert "remove the adapter" in problem["detail"]
    expect(client.delete("/adapters/only"), 204)


@pytest.mark.parametrize(
    "path", ["none/versions/1", "none", "stays/versions/2", "stays/versions/0", "stays/versions/one"]
)
def test_what_is_not_there_is_not_found(client: TestClient, path: str) -> None:
    if client.get("/adapters/stays").status_code == 404:
        create(client, "stays")
    for query in ("", "?drain=true"):
        expect_problem(client.delete(f"/adapters/{path}{query}"), 404, "not-found")


@pytest.mark.parametrize("spelling", ["01", "%201", "1%20", "%2B1", "1.0", "0_1", "%D9%A1"])
def test_a_versions_number_has_one_spelling_wherever_it_stands(client: TestClient, spelling: str) -> None:
    if client.get("/adapters/spelled").status_code == 404:
        create(client, "spelled")
        add_version(client, "spelled")
    response = client.delete(f"/adapters/spelled/versions/{spelling}")
    problem = expect_problem(response, 404, "not-found")
    assert "first of which is no zero" in problem["errors"][0]["message"]
    for file in ("state", "config", "checkpoint"):
        problem = expect_problem(client.get(f"/adapters/spelled/{file}?version={spelling}"), 400, "malformed")
        assert "first of which is no zero" in problem["errors"][0]["message"]
    assert len(client.get("/adapters/spelled/versions").json()["versions"]) == 2


def test_a_drain_that_is_no_yes_or_no_is_malformed(client: TestClient) -> None:
    expect_problem(client.delete("/adapters/whatever?drain=perhaps"), 400, "malformed")


def test_a_removal_waits_for_running_requests_where_it_is_asked_to(start: Start) -> None:
    client = start()
    gate = gate_named("draining")
    host(client, "mlp", "gated:mlp", gate="draining")
    create(client, "a")
    add_version(client, "a")
    ask = {"adapter": "a@2", "inputs": {"x": ROWS}}
    gate.shut()
    with ThreadPoolExecutor() as pool:
        running = pool.submit(client.post, "/models/mlp/infer", json=ask)
        gate.wait_for_arrival()
        for path in ("/adapters/a", "/adapters/a/versions/2"):
            assert "in use by 1 requests" in expect_problem(client.delete(path), 409, "conflict")["detail"]
        removing = pool.submit(client.delete, "/adapters/a/versions/2?drain=true")
        hasty = {"X-Request-Timeout": "0.05"}  # for who comes before the removal waits for the gate
        eventually(lambda: client.post("/models/mlp/infer", json=ask, headers=hasty).status_code == 404)
        assert not removing.done()
        gate.open()
        assert expect(running.result(), 200)["adapter"] == ["a@2", "a@2"]
        expect(removing.result(), 204)
    assert [version["version"] for version in client.get("/adapters/a/versions").json()["versions"]] == [1]
