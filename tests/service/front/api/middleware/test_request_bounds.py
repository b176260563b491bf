"""Encodings and queries that no route reads are refused on every route."""

import pytest
from apps import ROWS, expect, expect_problem
from starlette.testclient import TestClient

INFER = "/models/mlp/infer"
BODY = {"inputs": {"x": ROWS}}


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, deflate", "nonsense"])
@pytest.mark.parametrize("path", [INFER, "/models", "/nowhere"])
def test_an_encoded_body_is_415_and_says_what_is_read(client: TestClient, path: str, encoding: str) -> None:
    response = client.post(path, content=b"\x1f\x8b", headers={"content-encoding": encoding})
    assert "Content-Encoding" in expect_problem(response, 415, "unsupported-media-type")["hint"]
    assert response.headers["accept-encoding"] == "identity"


def test_a_body_that_says_it_is_not_encoded_is_read(client: TestClient) -> None:
    expect(client.post(INFER, json=BODY, headers={"content-encoding": "Identity"}), 200)


@pytest.mark.parametrize("encoding", ["gzip, chunked", "deflate"])
def test_another_transfer_encoding_than_chunked_is_501(client: TestClient, encoding: str) -> None:
    response = client.post(INFER, content=iter([b"{}"]), headers={"transfer-encoding": encoding})
    expect_problem(response, 501, "unsupported-encoding")


def test_a_query_of_very_many_parameters_is_malformed(client: TestClient) -> None:
    expect_problem(client.get("/models?" + "a&" * 64), 400, "malformed")


@pytest.mark.parametrize("query", ["limit=%C2%BD", "limit=%FF", "limit=\N{SNOWMAN}"])
def test_a_query_of_other_bytes_than_ascii_is_malformed_too(client: TestClient, query: str) -> None:
    expect_problem(client.get(f"/models?{query}"), 400, "malformed")


@pytest.mark.parametrize("query", ["X-API-Key=a", "token=%FF", "limit=ask_abcdefgh_%C2%BD"])
def test_a_key_in_the_query_is_malformed(client: TestClient, query: str) -> None:
    problem = expect_problem(client.get(f"/models?{query}"), 400, "malformed")
    assert "X-API-Key" in problem["hint"]
