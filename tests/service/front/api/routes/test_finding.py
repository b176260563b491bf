"""Lists of adapters over HTTP: filters, order, pages and counts."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from apps import RANDOM_LORA, ROWS, create, expect, expect_problem, host, places, settings_in
from starlette.testclient import TestClient

from service.bootstrap import create_app


@pytest.fixture(scope="module")
def found_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """`first` to `third`, created in this order; then `second` is used, and later `first`."""
    with TestClient(create_app(settings_in(tmp_path_factory.mktemp("finding")))) as client:
        host(client, "mlp", "bases:mlp")
        host(client, "other", "bases:mlp")
        for name, model in (("first", "mlp"), ("second", "mlp"), ("third", "other")):
            create(client, name, model=model)
        words = {"labels": {"stage": "prod", "lang": "de"}, "description": "speaks German"}
        expect(client.patch("/adapters/first", json=words), 200)
        expect(client.patch("/adapters/third", json={"labels": {"stage": "prod"}}), 200)
        for name in ("second", "first"):
            expect(client.post("/models/mlp/infer", json={"adapter": name, "inputs": {"x": ROWS}}), 200)
        yield client


def names(client: TestClient, path: str = "/adapters", **query: Any) -> list[str]:
    """On all pages."""
    found: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = expect(client.get(path, params={"limit": 1, **query, **cursor}), 200)
        found += [item["name"] for item in page["items"]]
        if page["next_cursor"] is None:
            return found
        cursor = {"cursor": page["next_cursor"]}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"labels": "stage=prod,lang in (de,en)"}, ["first"]),
        ({"labels": "!stage"}, ["second"]),
        ({"model": "other"}, ["third"]),
        ({"method": "LORA"}, ["first", "second", "third"]),
        ({"method": "IA3"}, []),
        ({"team": "default"}, ["first", "second", "third"]),
        ({"team": "fraud"}, []),
        ({"q": "german"}, ["first"]),
        ({"q": "ir"}, ["first", "third"]),
        ({"sort": "-name"}, ["third", "second", "first"]),
        ({"sort": "created"}, ["first", "second", "third"]),
        ({"sort": "-created"}, ["third", "second", "first"]),
        ({"sort": "-used"}, ["first", "second", "third"]),
        ({"sort": "used"}, ["third", "second", "first"]),
        ({"used_after": "2020-01-01T00:00:00Z"}, ["first", "second"]),
        ({"used_before": "2020-01-01T00:00:00Z"}, []),
        ({"created_before": "2020-01-01T00:00:00+02:00"}, []),
        ({"created_after": "2020-01-01T00:00:00Z", "labels": "stage=prod"}, ["first", "third"]),
    ],
)
def test_a_list_has_what_is_asked_for(found_in: TestClient, query: dict[str, str], expected: list[str]) -> None:
    assert names(found_in, **query) == expected


def test_the_adapters_of_one_model_are_found_as_all_are(found_in: TestClient) -> None:
    assert names(found_in, "/models/mlp/adapters", labels="stage", sort="-created") == ["first"]
    assert names(found_in, "/models/mlp/adapters", sort="-used") == ["first", "second"]
    expect_problem(found_in.get("/adapters", params={"model": "none"}), 404, "not-found")


def test_a_count_is_of_all_pages(found_in: TestClient) -> None:
    page = expect(found_in.get("/adapters", params={"limit": 1, "labels": "stage", "count": "true"}), 200)
    assert (page["total"], len(page["items"])) == (2, 1)
    assert expect(found_in.get("/adapters"), 200)["total"] is None


def test_a_list_says_when_each_was_used_last(found_in: TestClient) -> None:
    first, second, third = expect(found_in.get("/adapters?sort=used"), 200)["items"]
    assert first["last_used_at"] is None
    assert second["last_used_at"] < third["last_used_at"]


@pytest.mark.parametrize(
    ("query", "wrong"),
    [
        ({"labels": "stage=prod,lang in de"}, "query.labels"),
        ({"method": "lora"}, "query.method"),
        ({"q": "a\0b"}, "query.q"),
        ({"sort": "bytes"}, "query.sort"),
        ({"created_after": "yesterday"}, "query.created_after"),
        ({"created_after": "2020-01-01T00:00:00"}, "query.created_after"),
        ({"used_before": "0001-01-01T00:00:00+14:00"}, "query.used_before"),
        ({"team": "a b"}, "query.team"),
    ],
)
def test_the_refusal_of_an_unreadable_search_names_the_place(
    found_in: TestClient, query: dict[str, str], wrong: str
) -> None:
    for path in ("/adapters", "/models/mlp/adapters"):
        assert places(expect_problem(found_in.get(path, params=query), 400, "malformed")) == [wrong]


def test_the_place_in_a_selector_is_named(found_in: TestClient) -> None:
    problem = expect_problem(found_in.get("/adapters?labels=stage%3Dprod,lang in de"), 400, "malformed")
    assert "At character 20" in problem["detail"]


def test_a_cursor_belongs_to_its_sort(found_in: TestClient) -> None:
    cursor = expect(found_in.get("/adapters?limit=1&sort=created"), 200)["next_cursor"]
    expect_problem(found_in.get("/adapters", params={"cursor": cursor}), 400, "malformed")
    by_name = expect(found_in.get("/adapters?limit=1"), 200)["next_cursor"]
    expect_problem(found_in.get("/adapters", params={"cursor": by_name, "sort": "used"}), 400, "malformed")


def test_versions_are_made_with_labels(client: TestClient) -> None:
    labels = {"stage": "canary"}
    body = {"name": "fresh", "config": RANDOM_LORA, "seed": 1, "labels": labels}
    tried = expect(client.post("/models/mlp/adapters", json={**body, "dry_run": True}), 200)
    made = expect(client.post("/models/mlp/adapters", json=body), 201)
    assert tried["digest"] == made["digest"]
    parts = {
        "config": json.dumps(RANDOM_LORA).encode(),
        "weights": client.get("/adapters/fresh/state").content,
        "labels": json.dumps({"stage": "prod"}).encode(),
    }
    files = {name: (name, content) for name, content in parts.items()}
    expect(client.post("/adapters/fresh/versions", files=files), 201)
    versions = client.get("/adapters/fresh/versions").json()["versions"]
    assert [one["labels"] for one in versions] == [labels, {"stage": "prod"}]
    assert client.get("/adapters/fresh").json()["labels"] == {}
    wrong = expect_problem(client.post("/models/mlp/adapters", json={**body, "labels": {"a b": "c"}}), 422, "invalid")
    assert wrong["errors"][0]["loc"][0] == "labels"


def test_versions_have_labels_of_their_own(client: TestClient) -> None:
    create(client, "labelled")
    path = "/adapters/labelled/versions/1"
    changed = expect(client.patch(path, json={"labels": {"stage": "canary"}}), 200)
    assert (changed["reference"], changed["labels"]) == ("labelled@1", {"stage": "canary"})
    assert client.get(path).json()["labels"] == {"stage": "canary"}
    found = [client.get("/adapters/labelled/versions", params={"labels": text}).json() for text in ("stage", "!stage")]
    assert [len(one["versions"]) for one in found] == [1, 0]
    expect_problem(client.get("/adapters/labelled/versions?labels=("), 400, "malformed")
    expect_problem(client.patch(path, json={"labels": {"a b": "x"}}), 422, "invalid")
    expect_problem(client.patch(path, json={}), 422, "invalid")
    expect_problem(client.patch("/adapters/labelled/versions/2", json={"labels": {}}), 404, "not-found")
