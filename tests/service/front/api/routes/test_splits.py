"""Aliases that divide their requests between versions, over HTTP."""

from typing import Any

import pytest
from apps import ROWS, Start, expect, expect_problem, host, places, two_versions
from starlette.testclient import TestClient

HALVES = {"versions": {"1": 0.5, "2": 0.5}}


def split(client: TestClient, name: str, body: dict[str, Any] = HALVES) -> Any:
    return expect(client.put(f"/adapters/{name}/aliases/prod", json=body), 200)


def answering(client: TestClient, adapter: Any, key: str | None = None) -> list[Any]:
    headers = {} if key is None else {"X-Routing-Key": key}
    body = {"adapter": adapter, "inputs": {"x": ROWS}}
    return expect(client.post("/models/mlp/infer", headers=headers, json=body), 200)["adapter"]


def test_a_split_is_shown_wherever_its_alias_is(client: TestClient) -> None:
    two_versions(client, "shown")
    shares = {"versions": {"1": 0.9, "2": 0.1}, "shadow": None, "shadow_share": None}
    whole = {"name": "shown", "alias": "prod", "version": 1, **shares}
    assert split(client, "shown", {"versions": {"2": 0.1, "1": 0.9}}) == whole
    assert client.get("/adapters/shown/aliases").json()["items"] == [whole]
    adapter = client.get("/adapters/shown").json()
    assert (adapter["aliases"], adapter["rollouts"]) == ({"prod": 1}, {"prod": shares})
    for number in (1, 2):
        assert client.get(f"/adapters/shown/versions/{number}").json()["aliases"] == ["prod"]
    # Where one version is needed, it is the one with the greatest share.
    aliased, main = (client.get(f"/adapters/shown/state?{query}") for query in ("alias=prod", "version=1"))
    assert aliased.headers["etag"] == main.headers["etag"]


def test_a_routing_key_sticks_to_its_version(client: TestClient) -> None:
    two_versions(client, "sticky")
    split(client, "sticky")
    first = [answering(client, "sticky@prod", f"user-{n}")[0] for n in range(20)]
    assert set(first) == {"sticky@1", "sticky@2"}
    assert [answering(client, "sticky@prod", f"user-{n}")[0] for n in range(20)] == first
    split(client, "sticky", {"version": 2})
    assert set(answering(client, "sticky@prod", "user-1")) == {"sticky@2"}


def test_without_a_key_each_request_draws_once_for_all_its_rows(client: TestClient) -> None:
    two_versions(client, "drawn")
    split(client, "drawn")
    seen: set[str] = set()
    while len(seen) < 2:  # by chance it takes 60 draws once in 10^18
        one, composed = answering(client, ["drawn@prod", {"default:drawn@prod": 0.5}])
        assert composed == {one: 0.5}
        seen.add(one)


def test_moving_a_split_is_one_event_with_before_and_after(client: TestClient) -> None:
    two_versions(client, "told")
    split(client, "told", {"version": 1})
    split(client, "told", {**HALVES, "reason": "try it"})
    split(client, "told", HALVES)  # as it is already: no event
    split(client, "told", {"versions": {"2": 1}})
    shares = {"versions": {"1": 0.5, "2": 0.5}}
    events = [event for event in all_events(client) if event["subject"] == "told@prod"]
    assert [event["detail"] for event in events] == [
        {"from": None, "to": 1},
        {"from": 1, "to": shares, "reason": "try it"},
        {"from": shares, "to": 2},
    ]


def all_events(client: TestClient) -> list[Any]:
    found: list[Any] = []
    while page := client.get("/events", params={"after": found[-1]["id"] if found else 0}).json()["items"]:
        found += page
    return found


def test_a_version_that_a_split_names_is_removed_only_with_it(client: TestClient) -> None:
    two_versions(client, "split-named")
    split(client, "split-named", {"versions": {"1": 1, "2": 0}})
    problem = expect_problem(client.delete("/adapters/split-named/versions/2"), 409, "conflict")
    assert "prod" in problem["detail"]
    expect(client.delete("/adapters/split-named/versions/2?drain=true"), 204)
    assert client.get("/adapters/split-named").json()["aliases"] == {}


def test_a_version_that_is_only_a_shadow_ends_with_it(client: TestClient) -> None:
    two_versions(client, "shadowed")
    made = split(client, "shadowed", {"version": 1, "shadow": 2})
    assert (made["versions"], made["shadow"], made["shadow_share"]) == ({"1": 1.0}, 2, 0.1)
    expect(client.delete("/adapters/shadowed/versions/2"), 204)
    adapter = client.get("/adapters/shadowed").json()
    assert (adapter["aliases"], adapter["rollouts"]) == ({"prod": 1}, {})


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({"versions": {"1": 0.5, "2": 0.4}}, ["versions"]),
        ({"versions": {"1": 1.5, "2": -0.5}}, ["versions.1", "versions.2"]),
        ({"versions": {"1": 0.5, "7": 0.25, "8": 0.5}}, ["versions.7", "versions.8", "versions"]),
        ({"versions": {}}, ["versions"]),
        ({"versions": {"01": 1}}, ["versions.01"]),
        ({"versions": {"prod": 1}}, ["versions.prod"]),
        ({"versions": {"1": "1"}}, ["versions.1"]),
        ({"versions": {"1": 0, "2": 0}}, ["versions"]),
        ({"version": 1, "versions": {"1": 1}}, ["version"]),
        ({"shadow_share": 0.5}, ["version", "shadow_share"]),
        ({"version": 1, "shadow": 1}, ["shadow"]),
        ({"version": 9, "shadow": 8, "shadow_share": 2}, ["version", "shadow", "shadow_share"]),
    ],
)
def test_a_split_that_can_not_be_changes_nothing(client: TestClient, body: dict[str, Any], wrong: list[str]) -> None:
    if client.get("/adapters/unsplit").status_code == 404:
        two_versions(client, "unsplit")
    problem = expect_problem(client.put("/adapters/unsplit/aliases/prod", json=body), 422, "invalid")
    assert [place.removesuffix(".[key]") for place in places(problem)] == wrong
    assert client.get("/adapters/unsplit").json()["aliases"] == {}


def test_a_merge_needs_one_version_of_each(client: TestClient) -> None:
    two_versions(client, "split-merged")
    split(client, "split-merged")
    body = {"name": "both", "adapters": {"split-merged@prod": 0.5, "split-merged@1": 0.5}, "method": "cat"}
    problem = expect_problem(client.post("/models/mlp/adapters/compose", json=body), 422, "invalid")
    assert places(problem) == ["adapters.split-merged@prod"]
    split(client, "split-merged", {"versions": {"1": 1, "2": 0}})
    expect(client.post("/models/mlp/adapters/compose", json=body), 201)


@pytest.mark.parametrize("headers", [[""], ["k" * 513], ["a", "b"]])
def test_a_routing_key_that_can_not_be_is_refused(client: TestClient, headers: list[str]) -> None:
    sent = [("X-Routing-Key", header) for header in headers]
    body = {"inputs": {"x": ROWS}}
    expect_problem(client.post("/models/mlp/infer", headers=sent, json=body), 400, "malformed")


def test_a_split_outlives_a_restart_on_every_database(start: Start, database_url: str) -> None:
    client = start(database_url=database_url)
    host(client, "mlp", "bases:mlp")
    two_versions(client, "kept")
    split(client, "kept")
    before = [answering(client, "kept@prod", f"user-{n}")[0] for n in range(8)]
    again = start(database_url=database_url)
    expect(again.post("/models/mlp/load?wait=60"), 200)
    assert [answering(again, "kept@prod", f"user-{n}")[0] for n in range(8)] == before
