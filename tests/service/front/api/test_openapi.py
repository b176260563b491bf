"""The OpenAPI document: committed as it is, and telling the truth about every answer."""

import json
import re
from typing import Any

import pytest
from openapi_file import COMMITTED
from starlette.testclient import TestClient

from service.bootstrap import create_app
from service.front.api.openapi import export_document
from service.settings import Settings

JSON, PROBLEM_JSON = "application/json", "application/problem+json"
OURS = (PROBLEM_JSON, "Problem")
ERRORS = {" /v1/": (JSON, "ErrorBody"), " /v2": (JSON, "InferenceError")}


@pytest.fixture(scope="module")
def operations() -> dict[str, dict[str, Any]]:
    document = json.loads(export_document(create_app(Settings())))
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def test_whatever_the_document_refers_to_is_in_it() -> None:
    text = COMMITTED.read_text(encoding="utf-8")
    named = set(re.findall(r'"#/components/schemas/([^"]+)"', text))
    assert named <= json.loads(text)["components"]["schemas"].keys()


def test_the_reference_names_every_header_that_a_request_may_have(operations: dict[str, dict[str, Any]]) -> None:
    page = (COMMITTED.parents[1] / "docs" / "reference" / "http.md").read_text(encoding="utf-8").lower()
    headers = {
        parameter["name"]
        for operation in operations.values()
        for parameter in operation.get("parameters", ())
        if parameter["in"] == "header"
    }
    assert len(headers) > 5
    assert not [name for name in headers if f"`{name.lower()}`" not in page]


def test_the_committed_document_is_the_apps() -> None:
    assert COMMITTED.read_text(encoding="utf-8") == export_document(create_app(Settings())), "run `make openapi`"


def test_every_error_of_every_route_is_a_problem_or_anothers_error(operations: dict[str, dict[str, Any]]) -> None:
    for route, operation in operations.items():
        errors = {status: answer for status, answer in operation["responses"].items() if status >= "4"}
        assert {"500", "503"} <= errors.keys(), route
        for status, answer in errors.items():
            media_type, name = next((found for below, found in ERRORS.items() if below in route), OURS)
            schema = answer["content"][media_type]["schema"]
            assert schema == {"$ref": f"#/components/schemas/{name}"}, (route, status)


@pytest.mark.parametrize(
    ("route", "bodies"),
    [
        ("POST /models/{model_id}/adapters", {"application/json", "multipart/form-data"}),
        ("POST /adapters/{name}/versions", {"multipart/form-data"}),
        ("PUT /adapters/{name}/state", {"application/vnd.safetensors", "application/octet-stream"}),
        ("POST /models/{model_id}/infer", {"application/json", "application/vnd.safetensors"}),
    ],
)
def test_every_body_that_is_read_is_described(
    operations: dict[str, dict[str, Any]], route: str, bodies: set[str]
) -> None:
    assert operations[route]["requestBody"]["content"].keys() == bodies


def test_the_document_says_which_calls_need_a_key_and_with_which_role(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert set(document["components"]["securitySchemes"]) == {"bearer", "key"}
    needed = {
        (method.upper(), path): (bool(operation["security"]), operation.get("x-required-role"))
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert needed["GET", "/health/live"] == (False, None)
    assert needed["POST", "/models"] == (True, "admin")
    assert needed["POST", "/models/{model_id}/infer"] == (True, "caller")
    assert all(guarded == (role is not None) for guarded, role in needed.values())
    for path, methods in document["paths"].items():
        for operation in methods.values():
            assert not operation["security"] or {"401", "403"} <= set(operation["responses"]), path
