"""Who changed what, from where, by which request and why; and what was tried in vain."""

import json
import logging
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from apps import RANDOM_LORA, Start, expect, expect_problem, host
from starlette.testclient import TestClient

from models_registry.access import Access
from models_registry.authors import Author
from models_registry.errors import Unavailable
from models_registry.event_records import Refusal
from service.front.access import refusals as bounds
from service.front.access.refusals import Refusals

ADMIN = {"x-api-key": "the-operators-own-key"}


@pytest.fixture
def service(start: Start) -> TestClient:
    client = start(admin_key=ADMIN["x-api-key"])
    client.headers.update(ADMIN)
    return client


@pytest.fixture
def hosting(service: TestClient) -> TestClient:
    host(service, "mlp", "bases:mlp")
    return service


def member(client: TestClient, team: str, role: str = "publisher") -> dict[str, str]:
    client.post("/teams", json={"name": team})
    made = expect(client.post("/keys", json={"name": "test", "role": role, "team": team}), 201)
    return {"x-api-key": made["key"], "id": made["id"]}


def create(client: TestClient, who: dict[str, str], name: str) -> None:
    expect(client.post("/models/mlp/adapters", headers=who, json={"name": name, "config": RANDOM_LORA}), 201)


def events(client: TestClient, query: str = "", who: dict[str, str] | None = None) -> list[dict[str, Any]]:
    return expect(client.get(f"/events{query}", headers=who), 200)["items"]


def refused(client: TestClient) -> list[dict[str, Any]]:
    client.app.state.refusals.flush()  # type: ignore[attr-defined]
    return events(client, "?kind=refused")


def test_an_event_says_by_whom_from_where_by_which_request_and_why(hosting: TestClient) -> None:
    fraud = member(hosting, "fraud")
    create(hosting, fraud, "tone")
    headers = {**fraud, "x-request-id": "the-request"}
    body = {"version": 1, "reason": "the first"}
    expect(hosting.put("/adapters/tone/aliases/prod", headers=headers, json=body), 200)
    expect(hosting.delete("/adapters/tone/aliases/prod?reason=not+yet", headers=headers), 204)
    moved, removed = events(hosting, "?kind=alias")
    assert moved["by"] == moved["key"] == fraud["id"]
    assert (moved["address"], moved["request_id"], moved["reason"]) == ("testclient", "the-request", "the first")
    assert moved["detail"] == {"from": None, "to": 1, "reason": "the first"}
    assert removed["reason"] == "not yet"


def test_removals_and_new_versions_take_a_reason(hosting: TestClient) -> None:
    create(hosting, ADMIN, "tone")
    state = hosting.get("/adapters/tone/state").content
    binary = {"content-type": "application/vnd.safetensors"}
    put = hosting.put("/adapters/tone/state?force=true&reason=again", headers=binary, content=state)
    expect(put, 201)
    expect(hosting.delete("/adapters/tone/versions/1?reason=old"), 204)
    expect(hosting.delete("/adapters/tone?reason=gone"), 204)
    expect(hosting.delete("/models/mlp?reason=all"), 204)
    said = {event["kind"]: event["reason"] for event in events(hosting) if event["reason"]}
    assert said == {
        "version.added": "again",
        "version.removed": "old",
        "adapter.removed": "gone",
        "model.removed": "all",
    }
    expect_problem(hosting.delete(f"/adapters/tone?reason={'x' * 1001}"), 400, "malformed")


def test_events_are_found_by_team_adapter_kind_author_and_time(hosting: TestClient) -> None:
    fraud = member(hosting, "fraud")
    for name in ("tone", "tones", "to_e"):
        create(hosting, fraud, name)
    create(hosting, ADMIN, "tone")
    of_team = {event["subject"] for event in events(hosting, "?team=fraud")}
    assert {"fraud", fraud["id"], "fraud:tone@1", "fraud:tones"} <= of_team
    assert not {"tone", "mlp"} & of_team
    assert [e["subject"] for e in events(hosting, "?adapter=fraud:to_e")] == ["fraud:to_e", "fraud:to_e@1"]
    assert [e["subject"] for e in events(hosting, "?adapter=tone", fraud)] == ["tone", "tone@1"]
    assert {e["kind"] for e in events(hosting, "?kind=key")} == {"key.created"}
    assert {e["by"] for e in events(hosting, f"?by={fraud['id']}&kind=adapter.created")} == {fraud["id"]}
    everything = events(hosting)
    middle = everything[3]["at"]
    assert events(hosting, f"?to={middle}") + events(hosting, f"?from={middle}") == everything
    assert events(hosting, "?team=fraud&adapter=tone") == []
    assert events(hosting, "?team=fraud&kind=key", fraud) == []
    for query in ("?from=yesterday", "?kind=%25", "?adapter=a%20b", "?author=me", "?team=a:b"):
        expect_problem(hosting.get(f"/events{query}"), 400, "malformed")


def test_an_admins_address_is_not_shown_to_others(hosting: TestClient) -> None:
    fraud = member(hosting, "fraud")
    create(hosting, fraud, "tone")
    seen = {event["kind"]: event for event in events(hosting, "", fraud)}
    assert seen["model.registered"]["address"] is seen["model.registered"]["request_id"] is None
    assert seen["adapter.created"]["address"] == "testclient"


def test_refused_attempts_at_changes_are_events_for_admins(hosting: TestClient) -> None:
    fraud, search = member(hosting, "fraud"), member(hosting, "search")
    reader = member(hosting, "search", "reader")
    create(hosting, fraud, "tone")
    expect_problem(hosting.delete("/adapters/fraud:tone", headers=search), 404, "not-found")
    expect_problem(hosting.delete("/adapters/mine", headers=reader), 403, "forbidden")
    body = {"name": "n", "role": "admin"}
    expect_problem(hosting.post("/keys", headers=search, json=body), 403, "forbidden")
    wrong = {"x-api-key": "ask_aaaaaaaa_wrong"}
    expect_problem(hosting.post("/teams", headers=wrong, json={}), 401, "unauthenticated")
    # None of these would have changed anything.
    expect_problem(hosting.get("/adapters/tone", headers=wrong), 401, "unauthenticated")
    expect_problem(hosting.get("/teams", headers=search), 403, "forbidden")
    expect_problem(hosting.delete("/adapters/never", headers=search), 404, "not-found")
    found = [(event["subject"], event["by"], event["detail"]["status"]) for event in refused(hosting)]
    assert found == [
        ("DELETE /adapters/fraud:tone", search["id"], 404),
        ("DELETE /adapters/mine", reader["id"], 403),
        ("POST /keys", search["id"], 403),
        ("POST /teams", None, 401),
    ]
    assert {event["subject"] for event in events(hosting, "?team=search&kind=refused")} == {
        "DELETE /adapters/fraud:tone",
        "DELETE /adapters/mine",
        "POST /keys",
    }
    assert events(hosting, "?kind=refused", search) == []


def test_refused_attempts_can_not_fill_the_log(service: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MOST_PER_ADDRESS", 2)
    for _ in range(5):
        expect_problem(service.post("/teams", headers={"x-api-key": "wrong"}), 401, "unauthenticated")
    found = refused(service)
    assert [event["subject"] for event in found] == ["POST /teams", "POST /teams", "others"]
    assert found[-1]["detail"] == {"left_out": 3}


class Store:
    """Where refusals go, as far as they get."""

    def __init__(self) -> None:
        self.away = False
        self.got: list[tuple[int, int]] = []

    def add_refusals(self, refusals: list[Refusal], left_out: int) -> None:
        if self.away:
            raise Unavailable("The database is away.")
        self.got.append((len(refusals), left_out))


def test_refusals_are_bounded_by_the_minute_and_by_the_address() -> None:
    store, now = Store(), 0.0
    refusals = Refusals(cast(Access, store), lambda: now)

    def note(address: str, number: int) -> None:
        for _ in range(number):
            refusals.note(Refusal(datetime.now(UTC), Author(address=address), None, "POST /teams", 401))

    note("a", bounds.MOST_PER_ADDRESS + 1)
    for number in range(bounds.MOST_PER_MINUTE):
        note(str(number), 1)
    refusals.flush()
    refusals.flush()
    assert store.got == [(bounds.MOST_PER_MINUTE, bounds.MOST_PER_ADDRESS + 1)]
    now, store.away = 60.0, True
    note("a", 2)
    refusals.flush()
    store.away = False
    refusals.flush()
    assert store.got[1:] == [(0, 2)]


def test_each_change_is_a_line_for_machines(
    service: TestClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "audit")
    expect(service.post("/teams", headers={"x-request-id": "the-request"}, json={"name": "fraud"}), 201)
    expect_problem(service.post("/teams", json={"name": "fraud"}), 409, "conflict")
    (line,) = [record for record in caplog.records if record.name == "audit"]
    (event,) = events(service, "?kind=team.created")
    fields: dict[str, Any] = line.__dict__["fields"]
    assert fields["event"] == event["id"]
    assert {name: fields[name] for name in ("kind", "subject", "by", "address", "request_id")} == {
        "kind": "team.created",
        "subject": "fraud",
        "by": "admin-key",
        "address": "testclient",
        "request_id": "the-request",
    }
    json.dumps(fields, default=str)
