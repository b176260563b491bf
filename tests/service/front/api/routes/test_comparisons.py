"""What is counted of an alias's requests, over HTTP."""

from typing import Any

from apps import ROWS, SAFETENSORS, Start, create, expect, expect_problem, host, two_versions
from engines import eventually
from starlette.testclient import TestClient


def ask(client: TestClient, adapter: Any, rows: Any = ROWS, status: int = 200) -> None:
    expect(client.post("/models/mlp/infer", json={"adapter": adapter, "inputs": {"x": rows}}), status)


def comparison(client: TestClient, name: str) -> Any:
    return expect(client.get(f"/adapters/{name}/aliases/prod/comparison"), 200)


def point(client: TestClient, name: str, body: dict[str, Any]) -> None:
    expect(client.put(f"/adapters/{name}/aliases/prod", json=body), 200)


def test_requests_and_errors_are_counted_by_version(client: TestClient) -> None:
    two_versions(client, "counted")
    point(client, "counted", {"versions": {"1": 1, "2": 0}})
    for _ in range(3):
        ask(client, ["counted@prod", "counted@prod"])
    ask(client, "counted@prod", [[1.0]], 422)
    ask(client, "counted@1")  # not by the alias
    found = comparison(client, "counted")
    first, second = found["versions"]
    assert (first["version"], first["share"], first["requests"], first["errors"]) == (1, 1.0, 4, 1)
    assert first["error_rate"] == 0.25
    assert 0 < first["latency"]["p50_ms"] <= first["latency"]["p95_ms"]
    none = {"requests": 0, "errors": 0, "error_rate": None, "latency": {"p50_ms": None, "p95_ms": None}}
    assert second == {"version": 2, "share": 0.0, **none}
    point(client, "counted", {"version": 2})
    assert [(one["share"], one["requests"]) for one in comparison(client, "counted")["versions"]] == [(0, 4), (1, 0)]


def test_a_shadows_answers_are_compared_and_nobody_gets_them(client: TestClient) -> None:
    two_versions(client, "unlike")
    point(client, "unlike", {"version": 1, "shadow": 2, "shadow_share": 1})
    body = {"adapter": ["unlike@prod", None], "inputs": {"x": ROWS}}
    answer = expect(client.post("/models/mlp/infer", json=body), 200)
    assert answer["adapter"] == ["unlike@1", None]
    eventually(lambda: comparison(client, "unlike")["shadows"])
    (shadow,) = comparison(client, "unlike")["shadows"]
    assert (shadow["version"], shadow["against"], shadow["different"]) == (2, 1, 1)
    assert shadow["latency"]["p50_ms"] > 0
    assert shadow["their_latency"]["p50_ms"] > 0


def test_a_shadow_with_the_same_weights_is_equal(client: TestClient) -> None:
    create(client, "alike")
    state = client.get("/adapters/alike/state").content
    expect(client.put("/adapters/alike/state?force=true", content=state, headers=SAFETENSORS), 201)
    point(client, "alike", {"version": 1, "shadow": 2, "shadow_share": 1})
    ask(client, {"alike@prod": 0.5})
    eventually(lambda: comparison(client, "alike")["shadows"])
    (shadow,) = comparison(client, "alike")["shadows"]
    assert (shadow["equal"], shadow["failed"], shadow["dropped"]) == (1, 0, 0)


def test_an_alias_that_is_not_there_has_no_comparison(client: TestClient) -> None:
    create(client, "uncompared")
    expect_problem(client.get("/adapters/uncompared/aliases/prod/comparison"), 404, "not-found")
    expect_problem(client.get("/adapters/none/aliases/prod/comparison"), 404, "not-found")


def test_counts_outlive_the_process_on_every_database(start: Start, database_url: str) -> None:
    client = start(database_url=database_url)
    host(client, "mlp", "bases:mlp")
    two_versions(client, "kept")
    point(client, "kept", {"versions": {"1": 0.5, "2": 0.5}})
    for _ in range(5):
        ask(client, "kept@prod")
    client.__exit__(None, None, None)  # the service ends
    again = start(database_url=database_url)
    assert sum(version["requests"] for version in comparison(again, "kept")["versions"]) == 5
