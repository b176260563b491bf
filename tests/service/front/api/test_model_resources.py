"""How many replicas a base model is to have: kept on one machine too, checked, and shown."""

from typing import Any

import pytest
from apps import Start, expect, expect_problem
from starlette.testclient import TestClient

SAID: dict[str, Any] = {"min_replicas": 2, "max_replicas": 5, "cpus": 0.5, "gpus": 1.0, "memory_bytes": 1 << 33}


@pytest.fixture
def service(start: Start) -> TestClient:
    client = start()
    body = {"id": "mlp", "source": {"kind": "python", "factory": "bases:mlp"}, "resources": SAID}
    expect(client.post("/models", params={"wait": 60}, json=body), 201)
    return client


def shown(client: TestClient) -> Any:
    return expect(client.get("/models/mlp"), 200)["resources"]


def test_resources_are_kept_and_shown_as_they_were_said(service: TestClient) -> None:
    assert shown(service) == SAID


def test_a_change_leaves_what_it_does_not_name(service: TestClient) -> None:
    expect(service.patch("/models/mlp", json={"teams": ["default"]}), 200)
    assert shown(service) == SAID
    changed = expect(service.patch("/models/mlp", json={"resources": {"max_replicas": 3}}), 200)
    unsaid = dict.fromkeys(("cpus", "gpus", "memory_bytes"))
    assert changed["resources"] == {"min_replicas": 1, "max_replicas": 3, **unsaid}
    assert changed["teams"] == ["default"]
    assert expect(service.patch("/models/mlp", json={"resources": None}), 200)["resources"] is None
    events = expect(service.get("/events?kind=model.resources"), 200)["items"]
    assert [(event["detail"]["after"] or {}).get("max_replicas") for event in events] == [3, None]


def test_everything_that_is_wrong_with_resources_is_listed(service: TestClient) -> None:
    wrong = {"min_replicas": 0, "max_replicas": "4", "cpus": -1, "gpus": -0.5, "memory_bytes": 1.5, "nodes": 2}
    problem = expect_problem(service.patch("/models/mlp", json={"resources": wrong}), 422, "invalid")
    assert {fault["loc"][-1] for fault in problem["errors"]} == wrong.keys()
    backwards = {"resources": {"min_replicas": 3, "max_replicas": 2}}
    problem = expect_problem(service.patch("/models/mlp", json=backwards), 422, "invalid")
    assert "max_replicas" in problem["errors"][0]["message"]


def test_a_change_of_nothing_is_refused(service: TestClient) -> None:
    expect_problem(service.patch("/models/mlp", json={}), 422, "invalid")
