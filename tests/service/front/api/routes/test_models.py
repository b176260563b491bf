"""Base models over HTTP: registering, waiting, listing, in and out of memory, and what is refused."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from apps import ROWS, Start, create, expect, expect_problem, host, places
from gated import gate_named
from starlette.testclient import TestClient

MLP = {"kind": "python", "factory": "bases:mlp"}


def test_a_model_is_loading_until_it_is_ready(start: Start) -> None:
    client = start()
    gate = gate_named("loading")
    gate.shut()
    source = {"kind": "python", "factory": "gated:slow", "kwargs": {"gate": "loading"}}
    response = client.post("/models", json={"id": "m", "source": source})
    assert expect(response, 202)["state"] == "loading"
    assert response.headers["location"] == "/models/m"
    gate.wait_for_arrival()
    assert client.get("/models/m").json()["state"] == "loading"
    assert expect(client.get("/health/ready"), 200)["degraded"] == ["The base model 'm' is still loading."]
    expect_problem(client.post("/models/m/infer", json={"inputs": {"x": ROWS}}), 503, "unavailable")
    assert expect(client.post("/models/m/load"), 202)["state"] == "loading"
    gate.open()
    assert expect(client.post("/models", params={"wait": 60}, json={"id": "n", "source": MLP}), 201)["state"] == "ready"
    assert client.get("/models/m").json()["state"] == "ready"
    assert expect(client.get("/health/ready"), 200)["degraded"] == []


def test_a_waiting_caller_gets_the_progress_when_the_service_ends(start: Start) -> None:
    client = start()
    app: Any = client.app
    gate = gate_named("ending")
    gate.shut()
    source = {"kind": "python", "factory": "gated:slow", "kwargs": {"gate": "ending"}}
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(client.post, "/models", params={"wait": 3600}, json={"id": "m", "source": source})
        gate.wait_for_arrival()
        app.state.drain.begin()
        assert expect(waiting.result(), 202)["state"] == "loading"
    assert app.state.drain.finished
    gate.open()


def test_a_ready_model_says_what_it_is(client: TestClient) -> None:
    model = expect(client.get("/models/mlp"), 200)
    assert model["source"] == {**MLP, "kwargs": {}}
    assert (model["state"], model["reason"], model["parameters"], model["bytes"]) == ("ready", None, 67, 268)
    assert (model["dtype"], model["device"]) == ("float32", "cpu")
    assert model["fingerprint"].startswith("sha256:")


def test_a_model_with_dtype_auto_says_what_it_computes_in(client: TestClient) -> None:
    before = expect(client.get("/models/mlp"), 200)
    assert before["arithmetic"]["form"] == "as_stored"
    body = {"id": "auto", "source": MLP, "dtype": "auto", "example_inputs": {"x": ROWS}}
    model = expect(client.post("/models", params={"wait": 60}, json=body), 201)
    assert model["arithmetic"]["form"] in ("as_stored", "float16_weights")
    assert model["arithmetic"]["ratios"]["as_stored"] == 1.0
    assert model["arithmetic"]["reason"]
    assert (model["dtype"], model["fingerprint"]) == ("float32", before["fingerprint"])
    expect(client.post("/models/auto/unload"), 200)
    unloaded = expect(client.get("/models/auto"), 200)
    assert (unloaded["dtype"], unloaded["arithmetic"]) == ("auto", None)


def test_a_taken_id_is_a_conflict(client: TestClient) -> None:
    expect_problem(client.post("/models", json={"id": "mlp", "source": MLP}), 409, "conflict")


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({}, ["id", "source"]),
        ({"id": "a b", "source": MLP}, ["id"]),
        ({"id": "a" * 129, "source": MLP}, ["id"]),
        ({"id": "m", "source": MLP, "more": 1}, ["more"]),
        ({"id": "m", "source": {"kind": "other"}}, ["source"]),
        ({"id": "m", "source": {"kind": "python"}}, ["source.factory"]),
        ({"id": "m", "source": {"kind": "huggingface", "path": ""}}, ["source.path"]),
        ({"id": "m", "source": {**MLP, "factory": "os:system"}}, ["source.factory"]),
        ({"id": "m", "source": {"kind": "huggingface", "path": "../../etc"}}, ["source.path"]),
        ({"id": "m", "source": MLP, "dtype": "float33"}, ["dtype"]),
        ({"id": "m", "source": MLP, "device": "tpu"}, ["device"]),
        ({"id": "m", "source": MLP, "task": "flying"}, ["task"]),
        (
            {"id": "m", "source": {**MLP, "factory": "os:system"}, "task": "flying", "dtype": "x", "device": "tpu"},
            ["dtype", "device", "task", "source.factory"],
        ),
    ],
)
def test_a_wrong_registration_names_the_field_and_leaves_nothing(
    client: TestClient, body: dict[str, Any], wrong: list[str]
) -> None:
    assert places(expect_problem(client.post("/models", json=body), 422, "invalid")) == wrong
    expect_problem(client.get("/models/m"), 404, "not-found")


def test_a_link_out_of_the_model_roots_is_refused(start: Start, tmp_path: Path) -> None:
    client = start()
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "out").symlink_to(tmp_path)
    body = {"id": "m", "source": {"kind": "huggingface", "path": "out"}}
    assert places(expect_problem(client.post("/models", json=body), 422, "invalid")) == ["source.path"]


def test_every_module_that_can_be_targeted_is_listed_with_its_methods(client: TestClient) -> None:
    host(client, "unasked", "bases:dummy")  # the first request would show which of them the model enters
    modules = expect(client.get("/models/unasked/modules"), 200)["modules"]
    assert [module["name"] for module in modules] == ["embedding", "linear", "lm_head"]
    assert modules[0]["methods"] == ["LORA"]
    assert modules[1] == {
        "name": "linear",
        "type": "Linear",
        "parameters": {
            "weight": {"shape": [10, 10], "dtype": "float32"},
            "bias": {"shape": [10], "dtype": "float32"},
        },
        "methods": ["LORA", "ADALORA", "IA3"],
        "entered": None,
    }


def test_models_are_paged_by_id(start: Start) -> None:
    client = start()
    for model in "bca":
        host(client, model, "bases:mlp")
    first = expect(client.get("/models", params={"limit": 2}), 200)
    assert [model["id"] for model in first["items"]] == ["a", "b"]
    second = expect(client.get("/models", params={"limit": 2, "cursor": first["next_cursor"]}), 200)
    assert [model["id"] for model in second["items"]] == ["c"]
    assert second["next_cursor"] is None


def test_a_page_that_ends_the_list_exactly_has_no_next(start: Start) -> None:
    client = start()
    host(client, "a", "bases:mlp")
    assert expect(client.get("/models", params={"limit": 1}), 200)["next_cursor"] is None


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "cursor=!", "cursor=YSBi"])
def test_a_page_that_is_none_is_malformed(client: TestClient, query: str) -> None:
    expect_problem(client.get(f"/models?{query}"), 400, "malformed")


def test_an_unloaded_model_answers_nothing_until_it_is_loaded_and_stays_unloaded_over_a_restart(start: Start) -> None:
    client = start()
    host(client, "m", "bases:mlp")
    create(client, "a", model="m")
    assert expect(client.post("/models/m/unload"), 200)["state"] == "unloaded"
    expect_problem(client.post("/models/m/infer", json={"inputs": {"x": ROWS}}), 409, "conflict")
    create(client, "b", model="m")  # what is known of its modules is enough
    again = start()
    assert again.get("/models/m").json()["state"] == "unloaded"
    assert again.post("/models/m/load").status_code in {200, 202}


def test_a_model_with_adapters_is_removed_only_with_them(start: Start) -> None:
    client = start()
    host(client, "m", "bases:mlp")
    create(client, "a", model="m")
    problem = expect_problem(client.delete("/models/m"), 409, "conflict")
    assert "has adapters: a." in problem["detail"]
    response = client.delete("/models/m", params={"cascade": True})
    assert (response.status_code, response.content) == (204, b"")
    expect_problem(client.get("/models/m"), 404, "not-found")
    expect_problem(client.get("/adapters/a"), 404, "not-found")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/models/none"),
        ("DELETE", "/models/none"),
        ("GET", "/models/none/modules"),
        ("POST", "/models/none/load"),
        ("POST", "/models/none/unload"),
        ("GET", "/models/none/adapters"),
        ("GET", "/models/no%20name"),
        ("GET", "/models/%00"),
    ],
)
def test_an_unknown_model_is_not_found(client: TestClient, method: str, path: str) -> None:
    expect_problem(client.request(method, path), 404, "not-found")
