"""Who is let in, and to what: every route against every role, over the real app."""

import json
import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from apps import Start, create, expect, expect_problem, host
from starlette.testclient import TestClient

from models_registry.errors import Invalid
from models_registry.records import Role
from service.front.access.caller import ROLES
from service.front.access.failed_logins import MOST_PER_MINUTE
from service.front.access.key_ring import KeyRing
from service.front.access.route_roles import CONSOLE, entries

ADMIN = {"x-api-key": "the-operators-own-key"}
OPEN = ["/health/live", "/health/ready", "/version", "/openapi.json", "/docs", "/console/login"]
FIRST = {"admin_key": ADMIN["x-api-key"]}


@pytest.fixture
def guarded(start: Start) -> TestClient:
    return start(**FIRST)


def make_key(client: TestClient, role: str = "caller", maker: dict[str, str] = ADMIN, **others: Any) -> dict[str, str]:
    """The headers of a new key's caller."""
    made = expect(client.post("/keys", headers=maker, json={"name": "test", "role": role, **others}), 201)
    return {"authorization": f"Bearer {made['key']}", "id": made["id"]}


def call(client: TestClient, method: str, path: str, headers: dict[str, str]) -> Any:
    address = re.sub(r"\{\w+\}", "1", path).replace("/keys/1", "/keys/aaaaaaaa")
    return client.request(method, address, headers=headers)


def test_the_table_has_the_routes_of_the_document_and_no_other(client: TestClient) -> None:
    document = json.loads(client.get("/openapi.json").text)
    routes = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    known = {(method, path) for method, path, _ in entries() if not path.startswith(CONSOLE)}
    assert known - routes == set()
    assert routes - known == {
        ("GET", "/health/live"),
        ("GET", "/health/ready"),
        ("GET", "/version"),
        ("GET", "/v2"),
        ("GET", "/v2/health/live"),
        ("GET", "/v2/health/ready"),
    }


def test_a_service_without_keys_asks_nobody_on_its_own_machine(client: TestClient) -> None:
    expect(client.get("/adapters"), 200)
    expect(client.get("/keys"), 200)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-api-key": "ask_aaaaaaaa_wrong"},
        {"authorization": "Bearer ask_aaaaaaaa_wrong"},
        {"authorization": "Basic dXNlcjpwYXNz"},
        {"authorization": "Bearer"},
        {"x-api-key": ""},
    ],
)
def test_without_a_valid_key_every_address_is_the_same_401(guarded: TestClient, headers: dict[str, str]) -> None:
    for call in ["GET /adapters", "GET /nothing/here", "POST /models/m/infer", "GET /metrics"]:
        method, path = call.split()
        answer = guarded.request(method, path, headers=headers)
        problem = expect_problem(answer, 401, "unauthenticated")
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert "ask_aaaaaaaa" not in problem["detail"]
        assert problem["detail"].endswith("in the header `X-API-Key`, or as bearer in `Authorization`.")


@pytest.mark.parametrize("path", OPEN)
def test_what_says_nothing_of_the_registry_is_open_to_all(guarded: TestClient, path: str) -> None:
    expect_status = guarded.get(path).status_code
    assert expect_status == 200


def test_each_role_may_call_what_the_table_says_and_nothing_else(guarded: TestClient) -> None:
    keys = {role: make_key(guarded, role) for role in ROLES}
    for method, path, needed in entries():
        for role, key in keys.items():
            answer = call(guarded, method, path, key)
            allowed = ROLES.index(role) >= ROLES.index(needed)
            assert (answer.status_code == 403) == (not allowed), (method, path, role, answer.text)
            assert answer.status_code not in {401, 405, 500}, (method, path, role, answer.text)


def test_an_address_with_a_line_end_needs_the_role_of_its_route(guarded: TestClient) -> None:
    reader = make_key(guarded, "reader")
    for method, path, needed in entries():
        if needed != "reader":
            answer = call(guarded, method, f"{path}%0A", reader)
            assert answer.status_code == 403, (method, path, answer.text)


def test_a_service_without_keys_does_not_start_on_a_network(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with pytest.raises(Invalid, match="ADAPTER_SERVICE_ALLOW_ANONYMOUS"):
        start(host="0.0.0.0")
    assert "every user of this machine may change everything" not in caplog.text
    start(host="0.0.0.0", allow_anonymous="reader")
    start(host="0.0.0.0", **FIRST)
    start()
    assert "every user of this machine may change everything" in caplog.text


def test_a_key_is_shown_once_and_kept_as_a_digest(guarded: TestClient) -> None:
    key = make_key(guarded)["authorization"].removeprefix("Bearer ")
    assert re.fullmatch(r"ask_[a-z2-7]{8}_[\w-]{43}", key)
    assert key not in guarded.get("/keys", headers=ADMIN).text
    assert key not in guarded.get("/events", headers=ADMIN).text


def test_a_revoked_key_is_refused_at_once(guarded: TestClient) -> None:
    key = make_key(guarded)
    expect(guarded.get("/adapters", headers=key), 200)
    expect(guarded.delete(f"/keys/{key['id']}", headers=ADMIN), 204)
    expect_problem(guarded.get("/adapters", headers=key), 401, "unauthenticated")
    expect(guarded.delete(f"/keys/{key['id']}", headers=ADMIN), 204)


def test_a_key_that_has_expired_is_refused(guarded: TestClient) -> None:
    early = {"name": "n", "role": "caller", "expires_at": "2001-01-01T00:00:00Z"}
    expect_problem(guarded.post("/keys", headers=ADMIN, json=early), 422, "invalid")
    expect(guarded.get("/adapters", headers=make_key(guarded, expires_at="2101-01-01T00:00:00Z")), 200)


def test_revoking_the_last_key_opens_nothing(start: Start) -> None:
    client = start()
    made = expect(client.post("/keys", json={"name": "first", "role": "admin"}), 201)
    key = {"x-api-key": made["key"]}
    expect_problem(client.get("/adapters"), 401, "unauthenticated")
    expect(client.delete(f"/keys/{made['id']}", headers=key), 204)
    expect_problem(client.get("/adapters"), 401, "unauthenticated")
    expect_problem(start().get("/adapters"), 401, "unauthenticated")


def test_a_key_that_another_process_made_is_taken_at_once(start: Start) -> None:
    here, there = start(**FIRST), start(**FIRST)
    expect(there.post("/teams", headers=ADMIN, json={"name": "fraud"}), 201)
    for key in (make_key(there), make_key(there, team="fraud")):
        expect(here.get("/adapters", headers=key), 200)
        expect(there.delete(f"/keys/{key['id']}", headers=ADMIN), 204)


def test_callers_without_a_key_have_the_role_that_the_operator_gave(start: Start) -> None:
    client = start(**FIRST, allow_anonymous="reader")
    expect(client.get("/adapters"), 200)
    expect_problem(client.post("/models/m/infer", json={}), 403, "forbidden")
    expect_problem(client.get("/adapters", headers={"x-api-key": "wrong"}), 401, "unauthenticated")


def test_the_metrics_token_opens_the_metrics_alone(start: Start) -> None:
    client = start(**FIRST, metrics_token="what-prometheus-sends")
    token = {"authorization": "Bearer what-prometheus-sends"}
    assert client.get("/metrics", headers=token).status_code == 200
    expect_problem(client.get("/adapters", headers=token), 401, "unauthenticated")
    assert client.get("/metrics", headers=ADMIN).status_code == 200


def test_a_key_sent_twice_is_a_malformed_request(guarded: TestClient) -> None:
    both = [("x-api-key", ADMIN["x-api-key"]), ("authorization", f"Bearer {ADMIN['x-api-key']}")]
    expect_problem(guarded.get("/adapters", headers=dict(both)), 400, "malformed")
    twice = [both[0], both[0]]
    expect_problem(guarded.get("/adapters", headers=twice), 400, "malformed")


def test_a_key_in_the_query_is_refused_and_not_repeated(guarded: TestClient) -> None:
    answer = guarded.get(f"/adapters?api_key={ADMIN['x-api-key']}", headers=ADMIN)
    problem = expect_problem(answer, 400, "malformed")
    assert ADMIN["x-api-key"] not in json.dumps(problem)


def test_a_publisher_makes_lists_and_revokes_keys_of_the_own_team(guarded: TestClient) -> None:
    expect(guarded.post("/teams", headers=ADMIN, json={"name": "fraud"}), 201)
    publisher = make_key(guarded, "publisher", team="fraud")
    other = make_key(guarded, "caller")
    own = make_key(guarded, "caller", maker=publisher)
    listed = expect(guarded.get("/keys", headers=publisher), 200)["items"]
    assert {key["id"] for key in listed} == {publisher["id"], own["id"]}
    assert {key["team"] for key in listed} == {"fraud"}
    assert {key["created_by"] for key in listed} == {"admin-key", publisher["id"]}
    body = {"name": "n", "role": "caller", "team": "default"}
    expect_problem(guarded.post("/keys", headers=publisher, json=body), 403, "forbidden")
    expect_problem(guarded.post("/keys", headers=publisher, json={"name": "n", "role": "admin"}), 403, "forbidden")
    expect_problem(guarded.delete(f"/keys/{other['id']}", headers=publisher), 404, "not-found")
    expect(guarded.delete(f"/keys/{own['id']}", headers=publisher), 204)


@pytest.mark.parametrize("limits", [{"models": ["m"]}, {"adapters": ["a"]}, {"expires_at": "2101-01-01T00:00:00Z"}])
def test_a_limited_key_makes_no_key_that_may_more(guarded: TestClient, limits: dict[str, Any]) -> None:
    limited = make_key(guarded, "publisher", **limits)
    body: dict[str, Any] = {"name": "n", "role": "caller"}
    expect_problem(guarded.post("/keys", headers=limited, json=body), 403, "forbidden")
    expect(guarded.get("/keys", headers=limited), 200)


def test_teams_are_seen_by_admins_and_by_their_own(guarded: TestClient) -> None:
    expect(guarded.post("/teams", headers=ADMIN, json={"name": "fraud"}), 201)
    expect_problem(guarded.post("/teams", headers=ADMIN, json={"name": "fraud"}), 409, "conflict")
    expect_problem(guarded.post("/teams", headers=ADMIN, json={"name": "a:b"}), 422, "invalid")
    names = [team["name"] for team in expect(guarded.get("/teams", headers=ADMIN), 200)["items"]]
    assert names == ["default", "fraud"]
    reader = make_key(guarded, "reader", team="fraud")
    expect(guarded.get("/teams/fraud", headers=reader), 200)
    expect_problem(guarded.get("/teams/default", headers=reader), 404, "not-found")
    body = {"name": "n", "role": "caller", "team": "nobodys"}
    expect_problem(guarded.post("/keys", headers=ADMIN, json=body), 404, "not-found")


def test_a_key_that_is_limited_to_models_finds_no_other(guarded: TestClient) -> None:
    key = make_key(guarded, "reader", models=["n"])
    expect_problem(guarded.get("/models/m/modules", headers=key), 404, "not-found")


def test_events_and_versions_name_the_key_that_made_them(start: Start) -> None:
    client = start()
    host(client, "mlp", "bases:mlp")
    create(client, "before")
    made = expect(client.post("/keys", json={"name": "first", "role": "admin"}), 201)
    key = {"x-api-key": made["key"]}
    body = {"name": "after", "config": {"peft_type": "LORA", "target_modules": ["first"]}}
    expect(client.post("/models/mlp/adapters", headers=key, json=body), 201)
    events = expect(client.get("/events", headers=key), 200)["items"]
    by = {(event["kind"], event["subject"]): event["by"] for event in events}
    assert by["version.added", "before@1"] is None
    assert by["adapter.created", "after"] == by["version.added", "after@1"] == made["id"]
    assert by["model.registered", "mlp"] is None
    (version,) = expect(client.get("/adapters/after", headers=key), 200)["versions"]
    assert version["created_by"] == made["id"]


ROLE_WORDS: list[tuple[Role, Callable[[TestClient, dict[str, str]], Any]]] = [
    ("reader", lambda client, key: client.post("/models/m/infer", headers=key, json={})),
    ("caller", lambda client, key: client.delete("/adapters/a", headers=key)),
    ("publisher", lambda client, key: client.post("/models", headers=key, json={})),
]


@pytest.mark.parametrize(("role", "ask"), ROLE_WORDS)
def test_the_refusal_of_a_role_names_the_needed_one(
    guarded: TestClient, role: Role, ask: Callable[[TestClient, dict[str, str]], Any]
) -> None:
    problem = expect_problem(ask(guarded, make_key(guarded, role)), 403, "forbidden")
    assert f"this key is a {role}'s" in problem["detail"]


def test_who_sends_many_wrong_keys_waits_and_a_valid_key_never_does(guarded: TestClient) -> None:
    wrong = {"x-api-key": "ask_aaaaaaaa_wrong"}
    for _ in range(MOST_PER_MINUTE):
        expect_problem(guarded.get("/adapters", headers=wrong), 401, "unauthenticated")
    answer = guarded.get("/adapters", headers=wrong)
    expect_problem(answer, 429, "failed-logins")
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    expect(guarded.get("/adapters", headers=ADMIN), 200)
    expect_problem(guarded.get("/adapters"), 401, "unauthenticated")
    assert f"adapter_service_failed_logins_total {MOST_PER_MINUTE + 1}.0" in guarded.get("/metrics", headers=ADMIN).text


def test_keys_say_when_they_were_last_used(guarded: TestClient) -> None:
    key, unused = make_key(guarded), make_key(guarded)
    expect(guarded.get("/adapters", headers=key), 200)
    ring: KeyRing = guarded.app.state.key_ring  # type: ignore[attr-defined]
    ring.flush()
    generation = guarded.get("/adapters", headers=key).headers["x-registry-generation"]
    listed = {item["id"]: item for item in expect(guarded.get("/keys", headers=ADMIN), 200)["items"]}
    assert listed[unused["id"]]["last_used_at"] is None
    used = datetime.fromisoformat(listed[key["id"]]["last_used_at"])
    assert datetime.now(UTC) - used < timedelta(minutes=1)
    expect(guarded.get("/adapters", headers=key), 200)
    ring.flush()
    again = {item["id"]: item for item in expect(guarded.get("/keys", headers=ADMIN), 200)["items"]}
    assert again[key["id"]] == listed[key["id"]], "once a minute is enough"
    assert guarded.get("/adapters", headers=key).headers["x-registry-generation"] == generation
