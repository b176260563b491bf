"""An adapter that can't act is an error, never a silent base; and rows are rows only where a forward showed it."""

from typing import Any

import pytest
from apps import Start, create, expect, expect_problem
from starlette.testclient import TestClient

X = [[1.0, 2.0, 3.0, 4.0], [0.5, -1.0, 2.0, 0.0]]


def on(*targets: str) -> dict[str, Any]:
    return {"peft_type": "LORA", "r": 2, "target_modules": list(targets), "init_lora_weights": False}


def host(client: TestClient, model: str, factory: str, example: Any = None) -> None:
    body = {"id": model, "source": {"kind": "python", "factory": factory}, "example_inputs": example}
    expect(client.post("/models", params={"wait": 60}, json=body), 201)


def infer(client: TestClient, model: str, adapter: Any, **inputs: Any) -> Any:
    return client.post(f"/models/{model}/infer", json={"adapter": adapter, "inputs": inputs})


def test_the_example_shows_which_modules_are_entered(start: Start) -> None:
    client = start()
    host(client, "m", "bases:detour", {"x": X})
    modules = expect(client.get("/models/m/modules"), 200)["modules"]
    assert {module["name"]: module["entered"] for module in modules} == {"main": True, "spare": False}


def test_an_adapter_at_modules_that_never_run_is_refused_by_name(start: Start) -> None:
    client = start()
    host(client, "m", "bases:detour", {"x": X})
    body = {"name": "a", "config": on("spare")}
    problem = expect_problem(client.post("/models/m/adapters", json=body), 422, "adapter-without-effect")
    assert "'spare'" in problem["errors"][0]["message"]
    expect_problem(client.get("/adapters/a"), 404, "not-found")


def test_an_adapter_where_the_forward_only_reads_the_weight_is_refused_by_name(start: Start) -> None:
    client = start()
    host(client, "m", "bases:functional", {"x": X})
    body = {"name": "a", "config": on("called", "read")}
    problem = expect_problem(client.post("/models/m/adapters", json=body), 422, "adapter-without-effect")
    assert [error["message"] for error in problem["errors"]] == [
        "the base model's forward reads the weight of 'read' without calling it"
    ]


def test_an_adapter_that_the_first_request_shows_to_act_in_part_only_is_refused_then(start: Start) -> None:
    client = start()
    host(client, "m", "bases:functional")
    create(client, "a", on("called", "read"), "m")
    for _ in range(2):
        expect_problem(infer(client, "m", "a", x=X), 422, "adapter-without-effect")
    assert expect(client.get("/adapters/a"), 200)["without_effect"]
    expect(infer(client, "m", None, x=X), 200)


def test_rows_that_a_large_batch_takes_apart_run_once_per_adapter(start: Start) -> None:
    client = start()
    host(client, "m", "bases:splitting", {"x": X})
    create(client, "a", on("linear"), "m")
    rows, choices = [*X, *X, *X], ["a", None, "a", None, "a", "a"]
    mixed = expect(infer(client, "m", choices, x=rows), 200)["outputs"]["output"]["data"]
    solo = [
        number
        for row, choice in zip(rows, choices, strict=True)
        for number in expect(infer(client, "m", choice, x=[row]), 200)["outputs"]["output"]["data"]
    ]
    assert mixed == pytest.approx(solo, abs=1e-6)


def test_a_target_that_was_not_entered_beside_others_is_a_warning(start: Start) -> None:
    client = start()
    host(client, "m", "bases:detour", {"x": X})
    assert "'spare'" in create(client, "a", on("main", "spare"), "m")["warnings"][0]


def test_a_request_that_its_adapter_never_acts_on_is_refused_and_the_listing_says_so(start: Start) -> None:
    client = start()
    host(client, "m", "bases:detour")
    create(client, "a", on("spare"), "m")
    assert not expect(client.get("/adapters/a"), 200)["without_effect"]
    problem = expect_problem(infer(client, "m", "a", x=X), 422, "adapter-without-effect")
    assert problem["errors"][0]["loc"] == ["adapter", "a@1"]
    assert expect(client.get("/adapters/a"), 200)["without_effect"]
    assert expect(client.get("/models/m/adapters"), 200)["items"][0]["versions"][0]["without_effect"]


def test_a_request_that_leads_the_forward_there_takes_the_mark_away(start: Start) -> None:
    client = start()
    host(client, "m", "bases:detour")
    create(client, "a", on("spare"), "m")
    infer(client, "m", "a", x=X)
    expect(infer(client, "m", "a", x=X, detour=X), 200)
    assert not expect(client.get("/adapters/a"), 200)["without_effect"]


def test_examples_that_cannot_be_read_are_refused_at_registration(start: Start) -> None:
    client = start()
    body = {"id": "m", "source": {"kind": "python", "factory": "bases:mlp"}, "example_inputs": {"x": [[1], [1, 2]]}}
    problem = expect_problem(client.post("/models", json=body), 422, "invalid")
    assert problem["errors"][0]["loc"][:2] == ["example_inputs", "x"]


@pytest.mark.parametrize("example", [None, {"x": [X, X]}])
def test_each_row_equals_its_solo_run_where_the_model_folds_rows(start: Start, example: Any) -> None:
    client = start()
    host(client, "m", "bases:folding", example)
    create(client, "a", on("inner", "outer"), "m")
    create(
        client,
        "b",
        {"peft_type": "IA3", "target_modules": ["inner"], "feedforward_modules": ["inner"], "init_ia3_weights": False},
        "m",
    )
    rows, choices = [X, [X[1], X[0]], X], ["a", None, "b"]
    mixed = expect(infer(client, "m", choices, x=rows), 200)["outputs"]["output"]["data"]
    solo = [
        number
        for row, choice in zip(rows, choices, strict=True)
        for number in expect(infer(client, "m", choice, x=[row]), 200)["outputs"]["output"]["data"]
    ]
    assert mixed == pytest.approx(solo, abs=1e-6)
