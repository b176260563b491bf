"""Fields that a body doesn't know: where they stand, and what may have been meant."""

from typing import Any

import pytest
from apps import LORA, expect_problem, places
from starlette.testclient import TestClient

from service.front.api.http.schema_faults import MOST_DESCRIBED


@pytest.mark.parametrize(
    ("path", "body", "place", "meant"),
    [
        ("/models/mlp/adapters", {"name": "a", "config": LORA, "sed": 1}, "sed", "seed"),
        ("/models/mlp/infer", {"input": {}}, "input", "inputs"),
        ("/models", {"id": "m", "source": {"kind": "python", "factroy": "a:b"}}, "source.factroy", "factory"),
    ],
)
def test_a_misspelt_field_is_answered_with_what_was_meant(
    client: TestClient, path: str, body: dict[str, Any], place: str, meant: str
) -> None:
    problem = expect_problem(client.post(path, json=body), 422, "invalid")
    assert problem["hint"] == f"Did you mean {meant!r}?"
    messages = {".".join(map(str, error["loc"])): error["message"] for error in problem["errors"]}
    assert messages[place] == f"is not known here. Did you mean {meant!r}?"


def test_an_unlike_field_is_answered_with_those_that_there_are(client: TestClient) -> None:
    problem = expect_problem(client.put("/adapters/a/aliases/b", json={"version": 1, "zzz": 2}), 422, "invalid")
    (error,) = problem["errors"]
    assert error["message"].startswith("is not known here. Known here: ")
    assert "version" in error["message"]
    assert problem["hint"] is None


def test_a_body_of_unknown_fields_is_answered_in_short(client: TestClient) -> None:
    body = {"version": 1, **{f"versio{number}": 1 for number in range(3_000)}}
    answer = client.put("/adapters/a/aliases/b", json=body)
    assert len(places(expect_problem(answer, 422, "invalid"))) == 1_000
    assert answer.json()["errors"][500]["message"] == "is not known here"


def test_a_body_of_very_many_unknown_fields_is_answered_with_their_number(client: TestClient) -> None:
    body = {"version": 1, **{f"unknown{number}": 1 for number in range(MOST_DESCRIBED + 1)}}
    problem = expect_problem(client.put("/adapters/a/aliases/b", json=body), 422, "invalid")
    first, *others = problem["errors"]
    assert first["message"] == f"has {MOST_DESCRIBED + 1} wrong places, too many to list"
    assert {error["message"] for error in others} == {"is not known here."}


@pytest.mark.parametrize(
    ("adapter", "found"),
    [
        ({}, {"adapter": "Object should have at least 1 item, not 0"}),
        (5, {"adapter": "Input should be a valid string, or an object, or a list"}),
        ({"a": "x"}, {"adapter.a": "Input should be a valid number"}),
        (["a", 5], {"adapter.1": "Input should be a valid string, or an object"}),
    ],
)
def test_a_value_of_several_forms_is_faulted_once_and_where_it_is_wrong(
    client: TestClient, adapter: Any, found: dict[str, str]
) -> None:
    answer = client.post("/models/mlp/infer", json={"inputs": {"x": [[1.0]]}, "adapter": adapter})
    problem = expect_problem(answer, 422, "invalid")
    assert {".".join(map(str, error["loc"])): error["message"] for error in problem["errors"]} == found


def test_a_body_that_is_no_object_is_said_to_be_none(client: TestClient) -> None:
    problem = expect_problem(client.post("/models/mlp/infer", json=[]), 422, "invalid")
    assert [error["message"] for error in problem["errors"]] == ["Input should be an object"]


def test_an_unknown_kind_of_source_is_answered_with_those_that_there_are(client: TestClient) -> None:
    answer = client.post("/models", json={"id": "m", "source": {"kind": "ftp"}})
    problem = expect_problem(answer, 422, "invalid")
    assert [error["message"] for error in problem["errors"]] == [
        "kind should be one of 'huggingface', 'python', not 'ftp'"
    ]
