"""Base models that only some teams may use: for others they aren't there, whatever is called."""

import re
from typing import Any

import httpx2
import pytest
from apps import RANDOM_LORA, ROWS, Start, expect, expect_problem, host
from starlette.testclient import TestClient

from service.front.access.caller import ROLES
from service.front.access.route_roles import CONSOLE, entries

ADMIN = {"x-api-key": "the-operators-own-key"}
NEVER = "never"


@pytest.fixture
def service(start: Start) -> TestClient:
    client = start(admin_key=ADMIN["x-api-key"])
    client.headers.update(ADMIN)
    host(client, "mlp", "bases:mlp")
    host(client, "open", "bases:mlp")
    return client


def member(client: TestClient, team: str, **limits: Any) -> dict[str, str]:
    client.post("/teams", json={"name": team})
    body = {"name": "test", "role": "publisher", "team": team, **limits}
    return {"x-api-key": expect(client.post("/keys", json=body), 201)["key"]}


def restrict(client: TestClient, teams: list[str] | None, model: str = "mlp") -> dict[str, Any]:
    return expect(client.patch(f"/models/{model}", json={"teams": teams}), 200)


def models(client: TestClient, who: dict[str, str]) -> list[str]:
    return [item["id"] for item in expect(client.get("/models", headers=who), 200)["items"]]


def not_found(answer: httpx2.Response) -> str:
    return expect_problem(answer, 404, "not-found")["detail"]


def create(client: TestClient, who: dict[str, str], model: str, name: str) -> None:
    body = {"name": name, "config": RANDOM_LORA}
    expect(client.post(f"/models/{model}/adapters", headers=who, json=body), 201)


def test_a_restricted_model_is_its_teams_and_the_admins(service: TestClient) -> None:
    fraud, search = member(service, "fraud"), member(service, "search")
    assert restrict(service, ["fraud"])["teams"] == ["fraud"]
    assert models(service, ADMIN) == models(service, fraud) == ["mlp", "open"]
    assert models(service, search) == ["open"]
    infer = {"inputs": {"x": ROWS}}
    expect(service.post("/models/mlp/infer", headers=fraud, json=infer), 200)
    expect_problem(service.post("/models/mlp/infer", headers=search, json=infer), 404, "not-found")
    assert expect(service.get("/models/mlp", headers=fraud), 200)["teams"] is None
    assert restrict(service, None)["teams"] is None
    expect(service.post("/models/mlp/infer", headers=search, json=infer), 200)
    assert restrict(service, [])["teams"] == []
    assert models(service, fraud) == ["open"]
    assert models(service, ADMIN) == ["mlp", "open"]


def test_every_route_of_a_hidden_model_answers_as_of_one_that_never_was(service: TestClient) -> None:
    create(service, ADMIN, "mlp", "common")
    expect(service.patch("/adapters/common", json={"visibility": "shared"}), 200)
    search = member(service, "search")
    restrict(service, ["default"])
    tensors = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": ROWS[0]}]}
    bodies: dict[str, Any] = {
        "/models/{model_id}/infer": {"inputs": {"x": ROWS}},
        "/v2/models/{model_id}/infer": tensors,
        "/v2/models/{model_id}/versions/{reference}/infer": tensors,
        "/models/{model_id}/adapters": {"name": "mine", "config": RANDOM_LORA},
        "/models/{model_id}/adapters/compose": {"name": "mine", "adapters": {"default:common": 1.0}, "method": "cat"},
    }
    tried = 0
    for method, path, role in entries():
        if "{model_id}" not in path or path.startswith(CONSOLE) or ROLES.index(role) > ROLES.index("publisher"):
            continue
        said: list[str] = []
        for model in ("mlp", NEVER):
            address = re.sub(r"\{(\w+)\}", "1", path.replace("{model_id}", model).replace("{name}", "default:common"))
            body = bodies.get(path)
            answer = service.request(method, address, headers=search, json=body if method == "POST" else None)
            words = expect(answer, 404)["error"] if path.startswith("/v2") else not_found(answer)
            said.append(words.replace(model, NEVER))
        tried += 1
        if "{name}" not in path:
            assert said[0] == said[1], (method, path)
    assert tried >= 7


def test_lists_names_references_and_events_have_nothing_of_a_hidden_model(service: TestClient) -> None:
    search = member(service, "search")
    create(service, ADMIN, "mlp", "common")
    expect(service.patch("/adapters/common", json={"visibility": "shared"}), 200)
    create(service, search, "mlp", "mine")
    create(service, search, "open", "other")
    restrict(service, ["default"])
    listed = expect(service.get("/adapters", headers=search), 200)["items"]
    assert [item["name"] for item in listed] == ["other"]
    expect_problem(service.get("/adapters?model=mlp", headers=search), 404, "not-found")
    names = [item["id"] for item in expect(service.get("/v1/models", headers=search), 200)["data"]]
    assert names == ["open", "other"]
    for name in ("mlp", "mlp/mine", "mine", "default:common"):
        answer = service.get(f"/v1/models/{name}", headers=search)
        assert answer.status_code == 404, answer.text
        body = {"model": name, "prompt": "x"}
        assert service.post("/v1/completions", headers=search, json=body).status_code == 404
    for path in ("/adapters/mine", "/adapters/mine/state", "/adapters/default:common"):
        expect_problem(service.get(path, headers=search), 404, "not-found")
    infer = {"adapter": "default:common", "inputs": {"x": ROWS}}
    expect_problem(service.post("/models/open/infer", headers=search, json=infer), 404, "not-found")
    events = expect(service.get("/events?kind=model", headers=search), 200)["items"]
    assert {event["subject"] for event in events} == {"open"}
    restrict(service, None)
    expect(service.get("/adapters/mine", headers=search), 200)


def test_a_new_model_may_be_restricted_at_once(service: TestClient) -> None:
    search = member(service, "search")
    source = {"kind": "python", "factory": "bases:mlp", "kwargs": {}}
    body = {"id": "new", "source": source, "teams": ["search", "search"]}
    assert expect(service.post("/models?wait=60", json=body), 201)["teams"] == ["search"]
    assert models(service, search) == ["mlp", "new", "open"]
    assert models(service, member(service, "fraud")) == ["mlp", "open"]
    body = {"id": "newer", "source": source, "teams": ["search", "nobodys"]}
    problem = expect_problem(service.post("/models", json=body), 422, "invalid")
    assert [error["loc"] for error in problem["errors"]] == [["teams", 1]]


def test_only_admins_restrict_and_it_is_an_event(service: TestClient) -> None:
    fraud = member(service, "fraud")
    expect_problem(service.patch("/models/mlp", headers=fraud, json={"teams": None}), 403, "forbidden")
    expect_problem(service.patch("/models/mlp", json={"teams": ["nobodys"]}), 422, "invalid")
    expect_problem(service.patch("/models/mlp", json={}), 422, "invalid")
    expect_problem(service.patch("/models/never", json={"teams": None}), 404, "not-found")
    for _ in range(2):
        expect(service.patch("/models/mlp?reason=licensed", json={"teams": ["fraud"]}), 200)
    (event,) = expect(service.get("/events?kind=model.restricted"), 200)["items"]
    assert event["detail"] == {"before": None, "after": ["fraud"]}
    assert event["reason"] == "licensed"


def test_a_key_that_is_limited_to_models_lists_no_other(service: TestClient) -> None:
    for model in ("mlp", "open"):
        create(service, ADMIN, model, f"of-{model}")
    limited = member(service, "default", models=["open"])
    assert models(service, limited) == ["open"]
    listed = expect(service.get("/adapters", headers=limited), 200)["items"]
    assert [item["name"] for item in listed] == ["of-open"]
    expect_problem(service.get("/adapters/of-mlp", headers=limited), 404, "not-found")
    events = expect(service.get("/events?kind=model", headers=limited), 200)["items"]
    assert {event["subject"] for event in events} == {"open"}
