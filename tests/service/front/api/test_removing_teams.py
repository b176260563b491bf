"""The end of a team: what stands in its way, and what stays of it."""

from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest
from apps import RANDOM_LORA, ROWS, Start, expect, expect_problem, host
from starlette.testclient import TestClient

from models_registry.access import Access
from models_registry.errors import NotFound
from models_registry.records import Key
from models_registry.references import stored_name
from models_registry.storage.database import open_database
from service.front.access.caller import Caller, called_by
from service.front.requests import NewAdapter

ADMIN = {"x-api-key": "the-operators-own-key"}
PAST = datetime(2020, 1, 1, tzinfo=UTC)
WHO = {"name": "ci", "role": "publisher", "team": "fraud"}


@pytest.fixture
def service(start: Start) -> TestClient:
    client = start(admin_key=ADMIN["x-api-key"])
    client.headers.update(ADMIN)
    host(client, "mlp", "bases:mlp")
    expect(client.post("/teams", json={"name": "fraud", "limits": {"requests_per_minute": 100}}), 201)
    return client


def key_of(client: TestClient, **body: Any) -> tuple[str, dict[str, str]]:
    made = expect(client.post("/keys", json=WHO | body), 201)
    return made["id"], {"x-api-key": made["key"]}


def refusal(client: TestClient) -> str:
    detail: str = expect_problem(client.delete("/teams/fraud"), 409, "conflict")["detail"]
    return detail


def teams(client: TestClient) -> list[str]:
    return [team["name"] for team in expect(client.get("/teams"), 200)["items"]]


def test_a_team_is_not_removed_while_anything_is_its(service: TestClient) -> None:
    id, fraud = key_of(service)
    body = {"name": "tone", "config": RANDOM_LORA}
    expect(service.post("/models/mlp/adapters", headers=fraud, json=body), 201)
    expect(service.patch("/models/mlp", json={"teams": ["fraud"]}), 200)
    assert refusal(service) == (
        "The team 'fraud' still has adapters (remove them): fraud:tone; "
        f"valid keys (revoke them): {id} (ci); base models that are kept for some teams (change their `teams`): mlp."
    )
    expect(service.patch("/models/mlp", json={"teams": None}), 200)
    expect(service.delete("/adapters/fraud:tone"), 204)
    assert f"The team 'fraud' still has valid keys (revoke them): {id} (ci)." == refusal(service)
    assert teams(service) == ["default", "fraud"]


def test_many_things_in_the_way_are_not_all_named(service: TestClient) -> None:
    for _ in range(11):
        key_of(service)
    assert refusal(service).endswith(" and others.")


def test_a_removed_teams_name_usage_and_events_stay(service: TestClient) -> None:
    key_of(service, role="admin", team="default")
    id, fraud = key_of(service)
    app: Any = service.app
    with closing(open_database(app.state.settings.database_url)) as database:
        expired = Key("expired", "0" * 64, "old", "fraud", "caller", PAST, expires_at=PAST)
        Access(database).add_key(expired)
    expect(service.post("/models/mlp/infer", headers=fraud, json={"inputs": {"x": ROWS}}), 200)
    expect(service.delete(f"/keys/{id}"), 204)
    expect(service.delete("/teams/fraud", params={"reason": "merged with search"}), 204)
    assert teams(service) == ["default"]
    expect_problem(service.get("/teams/fraud"), 404, "not-found")
    expect_problem(service.delete("/teams/fraud"), 404, "not-found")
    expect_problem(service.post("/keys", json=WHO), 404, "not-found")
    expect_problem(service.get("/adapters", headers=fraud), 401, "unauthenticated")
    assert {key["id"] for key in expect(service.get("/keys"), 200)["items"]}.isdisjoint({id, expired.id})
    used = expect(service.get("/usage", params={"group_by": "team"}), 200)["items"]
    assert [(item["team"], item["requests"]) for item in used] == [("fraud", 1)]
    events = expect(service.get("/events", params={"team": "fraud"}), 200)["items"]
    assert events[-1]["kind"] == "team.removed"
    assert events[-1]["reason"] == "merged with search"
    assert {"team.created", "key.created", "key.revoked"} <= {event["kind"] for event in events}
    expect(service.post("/teams", json={"name": "fraud"}), 201)
    assert expect(service.get("/teams/fraud"), 200)["limits"]["requests_per_minute"] is None


def test_the_default_team_is_always_there(service: TestClient) -> None:
    expect_problem(service.delete("/teams/default"), 409, "conflict")
    expect_problem(service.delete("/teams/nobodys"), 404, "not-found")
    assert "default" in teams(service)


def test_the_only_keys_there_ever_were_keep_their_team(service: TestClient) -> None:
    id, _ = key_of(service)
    expect(service.delete(f"/keys/{id}"), 204)
    assert "open to everyone" in refusal(service)
    key_of(service, team="default")
    expect(service.delete("/teams/fraud"), 204)


@pytest.mark.parametrize("role", ["publisher", "caller"])
def test_only_an_admin_removes_a_team(service: TestClient, role: str) -> None:
    expect_problem(service.delete("/teams/fraud", headers=key_of(service, role=role)[1]), 403, "forbidden")


def test_nothing_is_made_for_a_team_that_was_removed_meanwhile(service: TestClient) -> None:
    expect(service.delete("/teams/fraud"), 204)
    app: Any = service.app
    with called_by(Caller("fraud", "publisher")), pytest.raises(NotFound, match="no team 'fraud'"):
        app.state.engine.adapters.create(NewAdapter("mlp", stored_name("fraud", "tone"), RANDOM_LORA))
    assert expect(service.get("/adapters"), 200)["items"] == []
