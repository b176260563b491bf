"""Composition over HTTP: a merge is an adapter like any other, and every wrong field is named."""

import io
import zipfile
from typing import Any

import pytest
import torch
from apps import RANDOM_LORA, ROWS, create, expect, expect_problem, places
from safetensors.torch import load
from starlette.testclient import TestClient
from tolerance import assert_same_in_float32

PATH = "/models/mlp/adapters/compose"
WIDE = {**RANDOM_LORA, "r": 3, "use_rslora": True}
SUM = {"adapters": {"part-a": 0.7, "part-b@1": -0.3}, "method": "cat"}
IA3 = {"peft_type": "IA3", "target_modules": ["first"], "feedforward_modules": []}


@pytest.fixture(scope="module", autouse=True)
def parts(client: TestClient) -> None:
    create(client, "part-a")
    create(client, "part-b", WIDE)
    create(client, "part-ia3", IA3)
    create(client, "part-dummy", {**RANDOM_LORA, "target_modules": ["linear"]}, "dummy")


def body(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, **SUM, **fields}


def infer(client: TestClient, adapter: Any) -> torch.Tensor:
    answer = expect(client.post("/models/mlp/infer", json={"inputs": {"x": ROWS}, "adapter": adapter}), 200)
    output = answer["outputs"]["output"]
    return torch.tensor(output["data"]).reshape(output["shape"])


def test_a_composition_is_an_adapter_like_any_other(client: TestClient) -> None:
    response = client.post(PATH, json=body("sum"))
    created = expect(response, 201)
    assert response.headers["location"] == "/adapters/sum"
    assert (created["reference"], created["method"], created["warnings"]) == ("sum@1", "LORA", [])
    weighted = infer(client, {"part-a": 0.7, "part-b": -0.3})
    assert_same_in_float32(infer(client, "sum"), weighted)
    assert not torch.allclose(weighted, infer(client, None))
    adapter = expect(client.get("/adapters/sum"), 200)
    assert adapter["versions"][0]["metadata"]["composed"]["adapters"] == {"part-a@1": 0.7, "part-b@1": -0.3}
    assert load(client.get("/adapters/sum/state").content)["first.lora_A.weight"].shape == (5, 4)
    archive = zipfile.ZipFile(io.BytesIO(client.get("/adapters/sum/checkpoint").content))
    assert set(archive.namelist()) == {"adapter_config.json", "adapter_model.safetensors"}


def test_the_same_seed_makes_the_same_composition(client: TestClient) -> None:
    create(client, "part-c")
    fields = {"adapters": {"part-a": 1.0, "part-c": 1.0}, "method": "dare_ties", "density": 0.5}
    one, same, other = (
        expect(client.post(PATH, json=body(f"dare-{number}", **fields, seed=seed)), 201)["digest"]
        for number, seed in enumerate((1, 1, 2))
    )
    assert one == same
    assert one != other


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"adapters": {}}, ["adapters"]),
        ({"adapters": {"part-a": "0.7"}}, ["adapters.part-a"]),
        ({"adapters": {"part-a": True}}, ["adapters.part-a"]),
        ({"adapters": ["part-a"]}, ["adapters"]),
        ({"method": "median"}, ["method"]),
        ({"method": "ties", "density": 0}, ["density"]),
        ({"method": "ties", "density": 1.5}, ["density"]),
        ({"method": "ties"}, ["density"]),
        ({"method": "svd", "rank": 0}, ["rank"]),
        ({"method": "svd", "rank": 1.5, "seed": -1}, ["rank", "seed"]),
        ({"density": None, "scale": 2}, ["scale"]),
        ({"name": "no name"}, ["name"]),
        ({"adapters": {"part-a": 1, "part-ia3": 1}}, ["adapters.part-ia3@1"]),
        ({"method": "linear"}, ["adapters", "adapters"]),
    ],
)
def test_every_wrong_field_is_named(client: TestClient, fields: dict[str, Any], where: list[str]) -> None:
    answer = client.post(PATH, json={"name": "wrong", **SUM, **fields})
    assert places(expect_problem(answer, 422, "invalid")) == where
    expect_problem(client.get("/adapters/wrong"), 404, "not-found")


def test_a_weight_that_json_reads_as_infinity_is_refused(client: TestClient) -> None:
    text = '{"name": "wrong", "adapters": {"part-a": 1e999}, "method": "cat"}'
    answer = client.post(PATH, content=text, headers={"content-type": "application/json"})
    assert places(expect_problem(answer, 422, "invalid")) == ["adapters.part-a"]


def test_every_unknown_reference_is_named(client: TestClient) -> None:
    adapters = {"part-a": 1, "part-x": 1, "part-b@9": 1, "part-dummy": 1}
    problem = expect_problem(client.post(PATH, json=body("wrong", adapters=adapters)), 404, "not-found")
    assert all(word in problem["detail"] for word in ("'part-x'", "'9'", "'part-dummy' belongs to model 'dummy'"))
    expect_problem(client.post("/models/nowhere/adapters/compose", json=body("wrong")), 404, "not-found")


def test_a_taken_name_is_a_conflict(client: TestClient) -> None:
    expect_problem(client.post(PATH, json=body("part-a")), 409, "conflict")


def test_only_json_is_read(client: TestClient) -> None:
    expect_problem(
        client.post(PATH, content="name: x", headers={"content-type": "text/yaml"}), 415, "unsupported-media-type"
    )
    expect_problem(client.post(PATH, content="{", headers={"content-type": "application/json"}), 400, "malformed")
