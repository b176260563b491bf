"""The log over HTTP: every change once, in order, page by page."""

from datetime import datetime
from typing import Any

import pytest
from apps import SAFETENSORS, Start, create, expect, expect_problem, host
from starlette.testclient import TestClient


def test_every_change_can_be_read_a_page_at_a_time(start: Start) -> None:
    client = start()
    host(client, "mlp", "bases:mlp")
    digest = create(client, "a")["digest"]
    state = client.get("/adapters/a/state").content
    expect(client.put("/adapters/a/state", content=state, headers=SAFETENSORS), 200)  # no change, so no event
    expect(client.put("/adapters/a/state?force=true", content=state, headers=SAFETENSORS), 201)
    expect(client.put("/adapters/a/aliases/prod", json={"version": 1}), 200)
    expect(client.put("/adapters/a/aliases/prod", json={"version": 2, "reason": "better"}), 200)
    expect(client.delete("/adapters/a/aliases/prod"), 204)
    expect(client.delete("/adapters/a/versions/2"), 204)
    expect(client.delete("/adapters/a"), 204)
    expect(client.delete("/models/mlp"), 204)

    events: list[Any] = []
    after = 0
    while (page := expect(client.get("/events", params={"after": after, "limit": 3}), 200))["items"]:
        assert len(page["items"]) <= 3
        events += page["items"]
        after = page["next_after"]
    assert page["next_after"] == after == events[-1]["id"]
    assert [(event["kind"], event["subject"]) for event in events] == [
        ("model.registered", "mlp"),
        ("model.built", "mlp"),
        ("adapter.created", "a"),
        ("version.added", "a@1"),
        ("version.added", "a@2"),
        ("alias.moved", "a@prod"),
        ("alias.moved", "a@prod"),
        ("alias.removed", "a@prod"),
        ("version.removed", "a@2"),
        ("adapter.removed", "a"),
        ("model.removed", "mlp"),
    ]
    assert [event["detail"] for event in events[5:8]] == [
        {"from": None, "to": 1},
        {"from": 1, "to": 2, "reason": "better"},
        {"from": 2},
    ]
    assert events[3]["detail"]["digest"] == digest
    assert {event["by"] for event in events} == {None}
    times = [datetime.fromisoformat(event["at"]) for event in events]
    assert times == sorted(times)
    assert times[0].tzinfo is not None


def test_behind_the_last_event_is_an_empty_page_until_something_happens(start: Start) -> None:
    client = start()
    host(client, "mlp", "bases:mlp")
    last = client.get("/events").json()["next_after"]
    assert expect(client.get("/events", params={"after": last}), 200) == {"items": [], "next_after": last}
    create(client, "a")
    assert [event["subject"] for event in client.get(f"/events?after={last}").json()["items"]] == ["a", "a@1"]


@pytest.mark.parametrize("query", ["after=-1", "after=x", "after=9223372036854775808", "limit=0", "limit=1001"])
def test_a_place_that_can_not_be_is_malformed(client: TestClient, query: str) -> None:
    expect_problem(client.get(f"/events?{query}"), 400, "malformed")
