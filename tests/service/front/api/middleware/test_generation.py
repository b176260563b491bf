"""X-Registry-Generation: no answer from an older state than the caller has seen."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apps import LORA, ROWS, Start, create, expect, expect_problem, host
from starlette.testclient import TestClient

from models_registry.registry import Registry
from models_registry.storage.blobs import open_blob_store
from models_registry.storage.database import open_database

HEADER = "X-Registry-Generation"


def generation(response: Any) -> int:
    return int(response.headers[HEADER])


def ask(client: TestClient, adapter: str, **headers: str) -> Any:
    return client.post("/models/mlp/infer", json={"adapter": adapter, "inputs": {"x": ROWS}}, headers=headers)


@pytest.fixture
def unwatched(start: Start, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    """A service that looks at what others change only where it is asked to."""
    monkeypatch.setattr("service.front.resolution.registry_poller.PERIOD_S", 3600.0)
    client = start()
    host(client, "mlp", "bases:mlp")
    create(client, "a")
    return client


@pytest.fixture
def elsewhere(unwatched: TestClient, tmp_path: Path) -> Iterator[Registry]:
    """The same registry in another process, for all that the service can tell."""
    database = open_database(f"sqlite:///{tmp_path}/registry.db")
    yield Registry(database, open_blob_store(f"file:{tmp_path}/blobs"))
    database.close()


def test_every_answer_says_a_generation_and_each_change_a_greater_one(client: TestClient) -> None:
    before = client.get("/health/live")
    created = client.post("/models/mlp/adapters", json={"name": "counted", "config": LORA})
    missing = client.get("/adapters/none")
    assert generation(before) < generation(created) <= generation(missing)


def test_who_has_seen_a_newer_state_is_not_answered_from_an_older_one(
    unwatched: TestClient, elsewhere: Registry
) -> None:
    elsewhere.move_alias("a", "prod", 1)
    seen = elsewhere.generation()
    expect_problem(ask(unwatched, "a@prod"), 404, "not-found")  # it can't know yet
    answer = ask(unwatched, "a@prod", **{HEADER: str(seen)})
    assert expect(answer, 200)["adapter"] == ["a@1"] * 2
    assert generation(answer) >= seen
    expect(ask(unwatched, "a@prod"), 200)


def test_a_removal_is_visible_to_a_caller_with_its_generation(unwatched: TestClient, elsewhere: Registry) -> None:
    expect(ask(unwatched, "a"), 200)
    elsewhere.remove_adapter("a")
    expect_problem(ask(unwatched, "a", **{HEADER: str(elsewhere.generation())}), 404, "not-found")


def test_the_generation_of_an_answer_has_what_the_answer_shows(unwatched: TestClient, elsewhere: Registry) -> None:
    for path in (
        "/adapters",
        "/adapters/a",
        "/adapters/a/versions",
        "/adapters/a/state",
        "/models/mlp/adapters",
        "/models",
        "/models/mlp",
        "/events",
    ):
        elsewhere.move_alias("a", f"via{path.replace('/', '-')}", 1)
        assert generation(unwatched.get(path)) == elsewhere.generation()


def test_a_state_that_nobody_has_seen_yet_is_not_available(client: TestClient) -> None:
    far = generation(client.get("/health/live")) + 1_000
    response = ask(client, "whatever", **{HEADER: str(far)})
    problem = expect_problem(response, 503, "unavailable")
    assert str(far) in problem["detail"]
    assert response.headers["retry-after"]
    assert generation(response) < far


@pytest.mark.parametrize("value", ["", "-1", "1.0", "x", "1" * 19, "\u0661", "0x1", "1, 2"])
def test_a_generation_that_is_no_number_is_malformed(client: TestClient, value: str) -> None:
    response = client.get("/health/live", headers={HEADER.encode(): value.encode()})
    expect_problem(response, 400, "malformed")
    assert generation(response) > 0


def test_an_older_state_than_ours_is_no_hindrance(client: TestClient) -> None:
    expect(client.get("/health/live", headers={HEADER: "0"}), 200)
    expect(client.get("/adapters", headers={HEADER: "1"}), 200)
