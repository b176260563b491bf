"""Limits of teams over HTTP: one team that reaches its own is told which, and others notice nothing."""

from typing import Any

import pytest
from apps import RANDOM_LORA, ROWS, Start, expect, expect_problem, host, places
from starlette.testclient import TestClient

ADMIN = {"x-api-key": "the-operators-own-key"}
NONE = dict.fromkeys(
    (
        "adapters",
        "stored_bytes",
        "resident_share",
        "requests_per_minute",
        "tokens_per_minute",
        "rows_in_flight",
        "sequences_in_flight",
        "request_bytes",
    )
)


@pytest.fixture
def service(start: Start) -> TestClient:
    client = start(admin_key=ADMIN["x-api-key"])
    client.headers.update(ADMIN)
    host(client, "mlp", "bases:mlp")
    return client


def member(client: TestClient, team: str, **limits: Any) -> dict[str, str]:
    """The headers of a publisher of a new team with these limits."""
    expect(client.post("/teams", json={"name": team, "limits": limits}), 201)
    body = {"name": "test", "role": "publisher", "team": team}
    return {"x-api-key": expect(client.post("/keys", json=body), 201)["key"]}


def create(client: TestClient, who: dict[str, str], name: str, **how: Any) -> Any:
    body = {"name": name, "config": RANDOM_LORA, "seed": 1, **how}
    return client.post("/models/mlp/adapters", headers=who, json=body)


def infer(client: TestClient, who: dict[str, str], rows: int = 2) -> Any:
    return client.post("/models/mlp/infer", headers=who, json={"inputs": {"x": [ROWS[0]] * rows}})


def test_a_teams_page_has_its_limits_with_what_is_in_use(service: TestClient) -> None:
    fraud = member(service, "fraud", adapters=5, resident_share=0.25)
    made = expect(create(service, fraud, "tone"), 201)
    for who in (fraud, ADMIN):
        page = expect(service.get("/teams/fraud", headers=who), 200)
        assert page["limits"] == NONE | {"adapters": 5, "resident_share": 0.25}
        assert page["use"]["adapters"] == 1
        assert page["use"]["stored_bytes"] == made["bytes"]
    expect_problem(service.get("/teams/default", headers=fraud), 404, "not-found")
    listed = {team["name"]: team for team in expect(service.get("/teams"), 200)["items"]}
    assert listed["default"]["limits"] == NONE
    assert listed["fraud"]["use"]["adapters"] == 1


def test_a_patch_replaces_all_limits_at_once(service: TestClient) -> None:
    fraud = member(service, "fraud", adapters=1, stored_bytes=10**9)
    expect(create(service, fraud, "one"), 201)
    expect_problem(create(service, fraud, "two"), 507, "limit")
    changed = expect(service.patch("/teams/fraud", json={"limits": {"adapters": 2}}), 200)
    assert changed["limits"] == NONE | {"adapters": 2}
    expect(create(service, fraud, "two"), 201)
    for who, status, kind in [(fraud, 403, "forbidden"), (ADMIN, 404, "not-found")]:
        path = "/teams/fraud" if who is fraud else "/teams/nobodys"
        expect_problem(service.patch(path, headers=who, json={"limits": {}}), status, kind)


def test_a_teams_share_of_memory_holds_on_models_that_are_loaded(service: TestClient) -> None:
    fraud = member(service, "fraud", resident_share=0)
    expect(create(service, fraud, "tone"), 201)
    body = {"adapter": "tone", "inputs": {"x": [ROWS[0]]}}
    refused = expect_problem(service.post("/models/mlp/infer", headers=fraud, json=body), 507, "no-room")
    assert "team 'fraud' may take 0" in refused["detail"]
    expect(service.patch("/teams/fraud", json={"limits": {}}), 200)
    expect(service.post("/models/mlp/infer", headers=fraud, json=body), 200)


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_every_wrong_limit_is_named(service: TestClient, method: str) -> None:
    wrong = {"adapters": -1, "stored_bytes": 1.5, "resident_share": 1.1, "rows_in_flight": True, "cats": 3}
    path, body = ("/teams", {"name": "fraud"}) if method == "POST" else ("/teams/default", {})
    problem = expect_problem(service.request(method, path, json=body | {"limits": wrong}), 422, "invalid")
    assert set(places(problem)) == {f"limits.{name}" for name in wrong}
    text = '{"name": "fraud", "limits": {"resident_share": NaN}}'
    answer = service.post("/teams", content=text, headers={"content-type": "application/json"})
    assert answer.status_code in {400, 422}, answer.text


def test_a_full_team_is_refused_by_dry_runs_too_and_others_are_not(service: TestClient) -> None:
    fraud = member(service, "fraud", adapters=1)
    expect(create(service, fraud, "one"), 201)
    for dry_run in (True, False):
        answer = create(service, fraud, "two", dry_run=dry_run)
        problem = expect_problem(answer, 507, "limit")
        assert problem["detail"] == "The team 'fraud' has 1 adapters, and its limit `adapters` is 1."
        assert "ask an admin" in problem["hint"]
        assert "retry-after" not in answer.headers
    expect(create(service, ADMIN, "two"), 201)


def test_merges_and_uploads_fill_a_teams_store_too(service: TestClient) -> None:
    fraud = member(service, "fraud")
    size = expect(create(service, fraud, "one"), 201)["bytes"]
    other = expect(create(service, fraud, "two", seed=2), 201)["bytes"]
    state = service.get("/adapters/two/state", headers=fraud).content
    expect(service.patch("/teams/fraud", json={"limits": {"stored_bytes": size + other}}), 200)
    merge = {"name": "three", "adapters": {"one": 0.5, "two": 0.5}, "method": "cat"}
    expect_problem(service.post("/models/mlp/adapters/compose", headers=fraud, json=merge), 507, "limit")
    headers = fraud | {"content-type": "application/vnd.safetensors"}
    expect(service.put("/adapters/one/state", headers=headers, content=state), 201)  # a blob that it has
    changed = bytearray(state)
    changed[-1] ^= 1
    expect_problem(service.put("/adapters/one/state", headers=headers, content=bytes(changed)), 507, "limit")


def test_a_team_over_a_rate_gets_its_name_and_when_to_retry(service: TestClient) -> None:
    fraud, search = member(service, "fraud", requests_per_minute=1), member(service, "search")
    first = infer(service, fraud)
    expect(first, 200)
    assert first.headers["ratelimit-policy"] == '"requests_per_minute";q=1;w=60'
    assert first.headers["ratelimit"].startswith('"requests_per_minute";r=0;t=')
    refused = infer(service, fraud)
    problem = expect_problem(refused, 429, "limit")
    assert "`requests_per_minute` is 1, with 0 left" in problem["detail"]
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert "ratelimit" in refused.headers
    answer = infer(service, search)
    expect(answer, 200)
    assert "ratelimit" not in answer.headers
    assert "ratelimit" not in service.get("/adapters", headers=fraud).headers
    page = expect(service.get("/teams/fraud", headers=fraud), 200)["use"]
    assert (page["requests_per_minute"], page["tokens_per_minute"], page["rows_in_flight"]) == (1, None, 0)


def test_the_refusal_of_a_request_that_can_never_pass_says_to_send_less(service: TestClient) -> None:
    fraud = member(service, "fraud", rows_in_flight=3)
    expect(infer(service, fraud, rows=3), 200)
    problem = expect_problem(infer(service, fraud, rows=4), 429, "limit")
    assert "this request alone needs 4: send less" in problem["detail"]
    expect(infer(service, fraud, rows=3), 200)


def test_a_body_larger_than_a_teams_requests_may_be_is_refused(service: TestClient) -> None:
    fraud = member(service, "fraud", request_bytes=400)
    expect(infer(service, fraud, rows=1), 200)
    problem = expect_problem(infer(service, fraud, rows=100), 413, "too-large")
    assert problem["detail"] == "The body is larger than 400 bytes, the limit `request_bytes` of the team 'fraud'."
    expect(infer(service, ADMIN, rows=100), 200)


def test_an_anonymous_caller_has_the_limits_of_the_team_default(start: Start) -> None:
    client = start()
    host(client, "mlp", "bases:mlp")
    expect(client.patch("/teams/default", json={"limits": {"requests_per_minute": 0}}), 200)
    expect_problem(infer(client, {}), 429, "limit")
    expect(client.patch("/teams/default", json={"limits": {}}), 200)
    expect(infer(client, {}), 200)


def test_a_resident_share_is_what_the_teams_adapters_take_of_memory_at_most(service: TestClient) -> None:
    fraud = member(service, "fraud")
    expect(create(service, fraud, "one"), 201)
    body = {"adapter": "one", "inputs": {"x": ROWS}}
    expect(service.post("/models/mlp/infer", headers=fraud, json=body), 200)
    assert 0 < expect(service.get("/teams/fraud", headers=fraud), 200)["use"]["resident_share"] < 1
    page = expect(service.patch("/teams/fraud", json={"limits": {"resident_share": 0}}), 200)
    assert page["limits"]["resident_share"] == 0
    expect_problem(service.post("/models/mlp/infer", headers=fraud, json=body), 507, "no-room")
    expect(create(service, ADMIN, "common"), 201)
    expect(service.post("/models/mlp/infer", json=body | {"adapter": "common"}), 200)
