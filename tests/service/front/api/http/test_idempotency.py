"""Idempotency-Key: who asks again gets what was created, not another one."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from apps import LORA, RANDOM_LORA, Start, as_form, create, expect, expect_problem, host
from safetensors.torch import load, save
from starlette.testclient import TestClient

from service.front.api.http.spool import IN_MEMORY

CONFIG = json.dumps({**RANDOM_LORA, "r": 1, "target_modules": ["first"]}).encode()
WEIGHTS = save({"first.lora_A.weight": torch.ones(1, 4), "first.lora_B.weight": torch.ones(8, 1)})
OTHER = save({"first.lora_A.weight": torch.ones(1, 4), "first.lora_B.weight": torch.zeros(8, 1)})


LARGE, LARGE_OTHER = (save(load(weights), {"padding": "x" * 2 * IN_MEMORY}) for weights in (WEIGHTS, OTHER))


def fresh(name: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    body = {"name": name, "config": LORA, "seed": 1}
    return "/models/mlp/adapters", {"json": body}, {"json": body | {"seed": 2}}


def upload(name: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    return "/models/mlp/adapters", as_form(CONFIG, WEIGHTS, name=name), as_form(CONFIG, OTHER, name=name)


def large_upload(name: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """One that is not kept in memory as it comes."""
    return "/models/mlp/adapters", as_form(CONFIG, LARGE, name=name), as_form(CONFIG, LARGE_OTHER, name=name)


def version(name: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    same, other = as_form(CONFIG, WEIGHTS, metadata='{"run": 1}'), as_form(CONFIG, WEIGHTS, metadata='{"run": 2}')
    return f"/adapters/{name}/versions", same, other


def composition(name: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    body = {"name": name, "adapters": {"part": 0.5}, "method": "cat"}
    return "/models/mlp/adapters/compose", {"json": body}, {"json": body | {"adapters": {"part": 0.75}}}


CREATIONS = [fresh, upload, large_upload, version, composition]
Creation = Callable[[str], tuple[str, dict[str, Any], dict[str, Any]]]


def prepare(client: TestClient, creation: Creation, test: str) -> str:
    """A name of the test's own for what is to be created, with what has to be there before."""
    if client.get("/adapters/part").status_code == 404:
        create(client, "part")
    name = f"{creation.__name__}-{test}"
    if creation is version:
        create(client, name)
    return name


def key(value: str) -> dict[str, str]:
    return {"Idempotency-Key": value}


@pytest.mark.parametrize("creation", CREATIONS)
def test_who_asks_again_is_answered_the_same_and_gets_nothing_twice(client: TestClient, creation: Creation) -> None:
    name = prepare(client, creation, "again")
    path, body, _ = creation(name)
    first = client.post(path, **body, headers=key(name))
    created = expect(first, 201)
    before = client.get(f"/adapters/{name}").json()
    for _ in range(2):
        again = client.post(path, **body, headers=key(name))
        assert expect(again, 201) == created
        assert again.headers["location"] == first.headers["location"]
    assert client.get(f"/adapters/{name}").json() == before


@pytest.mark.parametrize("creation", CREATIONS)
def test_another_body_under_the_same_key_is_a_conflict(client: TestClient, creation: Creation) -> None:
    name = prepare(client, creation, "other")
    path, body, other = creation(name)
    expect(client.post(path, **body, headers=key(name)), 201)
    problem = expect_problem(client.post(path, **other, headers=key(name)), 409, "conflict")
    assert name in problem["detail"]


@pytest.mark.parametrize("creation", CREATIONS)
def test_of_two_calls_at_the_same_time_one_creates_and_both_are_answered(
    client: TestClient, creation: Creation
) -> None:
    name = prepare(client, creation, "both")
    path, body, _ = creation(name)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: client.post(path, **body, headers=key(name)), range(4)))
    first, *others = [expect(answer, 201) for answer in answers]
    assert others == [first] * 3
    assert len(client.get(f"/adapters/{name}").json()["versions"]) == (2 if creation is version else 1)


def test_the_same_body_on_another_route_is_a_conflict(client: TestClient) -> None:
    for name in ("route-a", "route-b"):
        create(client, name)
    form = as_form(CONFIG, WEIGHTS)
    expect(client.post("/adapters/route-a/versions", **form, headers=key("routes")), 201)
    expect_problem(client.post("/adapters/route-b/versions", **form, headers=key("routes")), 409, "conflict")


def test_the_order_of_a_bodys_keys_and_a_forms_boundary_do_not_count(client: TestClient) -> None:
    body = {"name": "ordered", "config": LORA, "seed": 1}
    turned = json.dumps({key: body[key] for key in reversed(body)})
    created = expect(client.post("/models/mlp/adapters", json=body, headers=key("order")), 201)
    headers = key("order") | {"Content-Type": "application/json"}
    assert expect(client.post("/models/mlp/adapters", content=turned, headers=headers), 201) == created


def test_what_failed_uses_no_key_up(client: TestClient) -> None:
    bad = {"name": "retried", "config": {**LORA, "target_modules": ["nothing"]}}
    expect_problem(client.post("/models/mlp/adapters", json=bad, headers=key("retry")), 422, "invalid")
    good = {"name": "retried", "config": LORA}
    expect(client.post("/models/mlp/adapters", json=good, headers=key("retry")), 201)


def test_a_dry_run_uses_no_key_up_and_minds_none(client: TestClient) -> None:
    body = {"name": "dry-key", "config": LORA}
    dry = body | {"dry_run": True}
    for _ in range(2):
        expect(client.post("/models/mlp/adapters", json=dry, headers=key("dry")), 200)
    expect(client.post("/models/mlp/adapters", json=body, headers=key("dry")), 201)


def test_what_was_removed_is_not_created_again_by_a_late_repetition(client: TestClient) -> None:
    path, body, _ = fresh("late")
    created = expect(client.post(path, **body, headers=key("late")), 201)
    expect(client.delete("/adapters/late"), 204)
    assert expect(client.post(path, **body, headers=key("late")), 201) == created
    expect_problem(client.get("/adapters/late"), 404, "not-found")


def test_without_a_key_everything_is_new(client: TestClient) -> None:
    create(client, "keyless")
    for number in (2, 3):
        form = as_form(CONFIG, WEIGHTS)
        assert expect(client.post("/adapters/keyless/versions", **form), 201)["version"] == number


@pytest.mark.parametrize("bad", ["", "a b", "k" * 256, "caf\u00e9", "tab\there"])
def test_a_key_that_is_none_is_malformed(client: TestClient, bad: str) -> None:
    headers = {b"Idempotency-Key": bad.encode("latin-1")}
    response = client.post("/models/mlp/adapters", json={"name": "bad-key", "config": LORA}, headers=headers)
    expect_problem(response, 400, "malformed")
    expect_problem(client.get("/adapters/bad-key"), 404, "not-found")


def test_a_model_is_registered_once_and_told_of_as_it_is_by_then(start: Start) -> None:
    client = start()
    body = {"id": "m", "source": {"kind": "python", "factory": "bases:mlp"}}
    assert client.post("/models", json=body, headers=key("model")).status_code in (201, 202)
    ready = expect(client.post("/models?wait=60", json=body, headers=key("model")), 201)
    assert (ready["state"], ready["id"]) == ("ready", "m")
    expect_problem(client.post("/models", json=body), 409, "conflict")
    other = {**body, "dtype": "bfloat16"}
    expect_problem(client.post("/models", json=other, headers=key("model")), 409, "conflict")

    with ThreadPoolExecutor(4) as pool:
        body["id"] = "n"
        answers = list(pool.map(lambda _: client.post("/models?wait=60", json=body, headers=key("n")), range(4)))
    assert [expect(answer, 201)["id"] for answer in answers] == ["n"] * 4
    assert [
        event["subject"] for event in client.get("/events").json()["items"] if event["kind"] == "model.registered"
    ] == [
        "m",
        "n",
    ]

    expect(client.delete("/models/m"), 204)
    body["id"] = "m"
    problem = expect_problem(client.post("/models", json=body, headers=key("model")), 409, "conflict")
    assert "removed" in problem["detail"]


def test_a_key_is_kept_over_a_restart(start: Start, tmp_path: Path) -> None:
    client = start()
    host(client, "mlp", "bases:mlp")
    path, body, _ = upload("kept")
    created = expect(client.post(path, **body, headers=key("kept")), 201)
    client.__exit__(None, None, None)
    again = start()
    assert expect(again.post(path, **body, headers=key("kept")), 201) == created
    assert again.post("/models/mlp/adapters", **body).status_code == 409
