"""Aliases over HTTP, and the references that name them."""

from typing import Any

import pytest
from apps import ROWS, SAFETENSORS, create, expect, expect_problem, places, two_versions
from safetensors.torch import load, save
from starlette.testclient import TestClient


def whole(name: str, alias: str, version: int) -> dict[str, Any]:
    """The answer for an alias of one version."""
    shares = {"versions": {str(version): 1.0}, "shadow": None, "shadow_share": None}
    return {"name": name, "alias": alias, "version": version, **shares}


def answering(client: TestClient, reference: str) -> Any:
    body = {"adapter": reference, "inputs": {"x": ROWS}}
    return expect(client.post("/models/mlp/infer", json=body), 200)["adapter"][0]


def test_an_alias_moves_forward_and_back_in_one_step(client: TestClient) -> None:
    two_versions(client, "rolled")
    for number in (1, 2, 1):
        moved = client.put("/adapters/rolled/aliases/prod", json={"version": number})
        assert expect(moved, 200) == whole("rolled", "prod", number)
        assert answering(client, "rolled@prod") == f"rolled@{number}"
        aliased, exact = (
            client.get(f"/adapters/rolled/state?{query}") for query in ("alias=prod", f"version={number}")
        )
        assert aliased.headers["etag"] == exact.headers["etag"]
    assert client.get("/adapters/rolled").json()["aliases"] == {"prod": 1}


def test_an_alias_is_forgotten(client: TestClient) -> None:
    create(client, "forgotten")
    expect(client.put("/adapters/forgotten/aliases/prod", json={"version": 1}), 200)
    expect(client.delete("/adapters/forgotten/aliases/prod"), 204)
    expect_problem(client.delete("/adapters/forgotten/aliases/prod"), 404, "not-found")
    expect_problem(client.get("/adapters/forgotten/state?alias=prod"), 404, "not-found")
    assert client.get("/adapters/forgotten").json()["aliases"] == {}


@pytest.mark.parametrize(
    ("path", "body", "status", "kind"),
    [
        ("pointed/aliases/prod", {"version": 2}, 404, "not-found"),
        ("none/aliases/prod", {"version": 1}, 404, "not-found"),
        ("pointed/aliases/12", {"version": 1}, 422, "invalid"),
        ("pointed/aliases/latest", {"version": 1}, 422, "invalid"),
        ("pointed/aliases/a@b", {"version": 1}, 422, "invalid"),
        ("pointed/aliases/.prod", {"version": 1}, 422, "invalid"),
        (f"pointed/aliases/{'p' * 129}", {"version": 1}, 422, "invalid"),
        ("a@b/aliases/prod", {"version": 1}, 404, "not-found"),
        ("pointed/aliases/prod", {}, 422, "invalid"),
        ("pointed/aliases/prod", {"version": True}, 422, "invalid"),
        ("pointed/aliases/prod", {"version": "1"}, 422, "invalid"),
        ("pointed/aliases/prod", {"version": 0}, 422, "invalid"),
        ("pointed/aliases/prod", {"version": 2**31}, 422, "invalid"),
        ("pointed/aliases/prod", {"version": 1, "more": 1}, 422, "invalid"),
    ],
)
def test_an_alias_that_can_not_be_changes_nothing(
    client: TestClient, path: str, body: dict[str, Any], status: int, kind: str
) -> None:
    if client.get("/adapters/pointed").status_code == 404:
        create(client, "pointed")
    expect_problem(client.put(f"/adapters/{path}", json=body), status, kind)
    assert client.get("/adapters/pointed").json()["aliases"] == {}


def test_what_is_wrong_with_an_alias_is_named(client: TestClient) -> None:
    create(client, "wrongly")
    problem = expect_problem(client.put("/adapters/wrongly/aliases/7", json={"version": 1}), 422, "invalid")
    assert places(problem) == ["alias"]
    problem = expect_problem(client.put("/adapters/wrongly/aliases/x", json={"version": "1"}), 422, "invalid")
    assert places(problem) == ["version"]
    expect_problem(client.put("/adapters/wrongly/aliases/x", content=b"{"), 400, "malformed")


def test_latest_is_the_newest_version_without_being_an_alias(client: TestClient) -> None:
    two_versions(client, "overtaken")
    assert answering(client, "overtaken@latest") == "overtaken@2"
    newest = client.get("/adapters/overtaken/state").headers["etag"]
    assert client.get("/adapters/overtaken/state?alias=latest").headers["etag"] == newest
    assert client.get("/adapters/overtaken").json()["aliases"] == {}


def test_the_aliases_of_an_adapter_are_paged_by_name(client: TestClient) -> None:
    two_versions(client, "many")
    for alias, version in (("prod", 1), ("canary", 2), ("dev", 2)):
        expect(client.put(f"/adapters/many/aliases/{alias}", json={"version": version}), 200)
    first = expect(client.get("/adapters/many/aliases?limit=2"), 200)
    assert first["items"] == [
        whole("many", "canary", 2),
        whole("many", "dev", 2),
    ]
    rest = expect(client.get("/adapters/many/aliases", params={"cursor": first["next_cursor"]}), 200)
    assert rest == {"items": [whole("many", "prod", 1)], "next_cursor": None}
    expect_problem(client.get("/adapters/none/aliases"), 404, "not-found")


def test_an_alias_moves_only_while_its_callers_newest_version_is_the_newest(client: TestClient) -> None:
    create(client, "guarded")
    first = client.get("/adapters/guarded/state").headers["etag"]
    path = "/adapters/guarded/aliases/prod"
    expect_problem(client.put(path, json={"version": 1}, headers={"If-Match": "nonsense"}), 400, "malformed")
    expect_problem(client.put(path, json={"version": 1}, headers={"If-Match": '"0"'}), 412, "stale")
    assert client.get("/adapters/guarded").json()["aliases"] == {}
    expect(client.put(path, json={"version": 1}, headers={"If-Match": first}), 200)
    halved = save({key: tensor / 2 for key, tensor in load(client.get("/adapters/guarded/state").content).items()})
    second = client.put("/adapters/guarded/state", content=halved, headers=SAFETENSORS).headers["etag"]
    expect_problem(client.put(path, json={"version": 2}, headers={"If-Match": first}), 412, "stale")
    assert client.get("/adapters/guarded").json()["aliases"] == {"prod": 1}
    expect(client.put(path, json={"version": 2}, headers={"If-Match": f"{first}, {second}"}), 200)


def test_an_adapter_or_version_with_an_alias_is_removed_only_with_it(client: TestClient) -> None:
    two_versions(client, "aliased")
    expect(client.put("/adapters/aliased/aliases/prod", json={"version": 1}), 200)
    assert "prod" in expect_problem(client.delete("/adapters/aliased/versions/1"), 409, "conflict")["detail"]
    assert "prod" in expect_problem(client.delete("/adapters/aliased"), 409, "conflict")["detail"]
    expect(client.delete("/adapters/aliased/versions/1?drain=true"), 204)
    assert client.get("/adapters/aliased").json()["aliases"] == {}
    expect(client.put("/adapters/aliased/aliases/prod", json={"version": 2}), 200)
    expect(client.delete("/adapters/aliased?drain=true"), 204)
    expect_problem(client.get("/adapters/aliased"), 404, "not-found")


def test_each_rollback_undoes_one_move_and_is_an_event(client: TestClient) -> None:
    two_versions(client, "undone")
    address = "/adapters/undone/aliases/prod"
    split = {"1": 0.75, "2": 0.25}
    for body in ({"version": 1}, {"versions": split}, {"version": 2}):
        expect(client.put(address, json=body), 200)

    back = expect(client.post(f"{address}/rollback", json={"reason": "worse"}), 200)
    assert (back["version"], back["versions"]) == (1, split)
    assert expect(client.post(f"{address}/rollback"), 200) == whole("undone", "prod", 1)
    assert answering(client, "undone@prod") == "undone@1"
    problem = expect_problem(client.post(f"{address}/rollback"), 409, "conflict")
    assert "nothing to go back to" in problem["detail"]

    events = expect(client.get("/events?adapter=undone&kind=alias"), 200)["items"]
    assert [event["detail"].get("undoes") for event in events] == [None, None, None, events[2]["id"], events[1]["id"]]
    assert events[3]["reason"] == "worse"
    assert events[3]["detail"]["from"] == 2
    assert events[3]["detail"]["to"] == {"versions": split}


def test_a_move_after_a_rollback_can_be_rolled_back_itself(client: TestClient) -> None:
    two_versions(client, "redone")
    address = "/adapters/redone/aliases/prod"
    for number in (1, 2):
        expect(client.put(address, json={"version": number}), 200)
    expect(client.post(f"{address}/rollback"), 200)
    expect(client.put(address, json={"version": 2}), 200)
    assert expect(client.post(f"{address}/rollback"), 200)["version"] == 1


def test_there_is_no_rollback_to_a_removed_version(client: TestClient) -> None:
    two_versions(client, "burnt")
    address = "/adapters/burnt/aliases/prod"
    for number in (1, 2):
        expect(client.put(address, json={"version": number}), 200)
    expect(client.delete("/adapters/burnt/versions/1"), 204)
    problem = expect_problem(client.post(f"{address}/rollback"), 409, "conflict")
    assert "was version 1, which was removed" in problem["detail"]
    expect_problem(client.post("/adapters/burnt/aliases/dev/rollback"), 404, "not-found")
    expect_problem(client.post(f"{address}/rollback", json={"why": "typo"}), 422, "invalid")
