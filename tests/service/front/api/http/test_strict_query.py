"""Unknown and repeated query parameters, on every route."""

from typing import Any

import pytest
from apps import expect_problem, places
from openapi_file import committed_document
from starlette.testclient import TestClient

ROUTES = [(method.upper(), path) for path, methods in committed_document()["paths"].items() for method in methods]


@pytest.mark.parametrize(("method", "path"), ROUTES, ids=" ".join)
def test_an_unknown_query_parameter_is_refused_on_every_route(client: TestClient, method: str, path: str) -> None:
    names: dict[str, Any] = {"model_id": "mlp", "name": "none", "alias": "prod", "version": 1, "team": "default"}
    names |= {"id": "aaaaaaaa", "model": "mlp", "reference": "none"}
    answer = client.request(method, path.format(**names), params={"serach": "x"})
    assert answer.status_code == 400
    if path.startswith("/v1/"):
        assert answer.json()["error"]["param"] == "query.serach"
    elif path == "/v2" or path.startswith("/v2/"):
        assert "serach" in answer.json()["error"]
    elif method != "HEAD":
        assert places(expect_problem(answer, 400, "malformed")) == ["query.serach"]


def test_what_may_have_been_meant_is_named(client: TestClient) -> None:
    problem = expect_problem(client.get("/models?limt=3&search=x"), 400, "malformed")
    assert problem["hint"] == "Did you mean 'limit'?"
    assert {".".join(error["loc"]): error["message"] for error in problem["errors"]} == {
        "query.limt": "is not known here. Did you mean 'limit'?",
        "query.search": "is not known here. Known here: cursor, limit.",
    }


def test_an_address_without_parameters_says_that_it_takes_none(client: TestClient) -> None:
    problem = expect_problem(client.get("/models/mlp/modules?limit=1"), 400, "malformed")
    assert [error["message"] for error in problem["errors"]] == ["is not known here. Nothing is: leave it out."]


def test_a_parameter_that_is_given_twice_is_refused(client: TestClient) -> None:
    problem = expect_problem(client.get("/adapters?limit=1&limit=2"), 400, "malformed")
    assert places(problem) == ["query.limit"]


def test_very_many_unknown_parameters_are_answered_in_short(client: TestClient) -> None:
    query = "&".join(f"{'p' * 60}{number}=1" for number in range(50))
    assert len(expect_problem(client.get(f"/adapters?{query}"), 400, "malformed")["errors"]) == 20
