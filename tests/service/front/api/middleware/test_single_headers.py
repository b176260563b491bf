"""Headers that mean one thing are sent once."""

import pytest
from apps import LORA, expect, expect_problem
from starlette.testclient import TestClient


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("Idempotency-Key", ("one", "other")),
        ("Idempotency-Key", ("one", "one")),
        ("X-Request-Timeout", ("1", "600")),
        ("X-Registry-Generation", ("0", "1")),
        ("Content-Type", ("application/json", "multipart/form-data; boundary=x")),
    ],
)
def test_a_header_that_is_sent_twice_is_malformed_and_changes_nothing(
    client: TestClient, name: str, values: tuple[str, str]
) -> None:
    headers = [(name, value) for value in values]
    response = client.post("/models/mlp/adapters", json={"name": "twice", "config": LORA}, headers=headers)
    problem = expect_problem(response, 400, "malformed")
    assert name in problem["detail"]
    assert response.headers["x-registry-generation"]
    expect_problem(client.get("/adapters/twice"), 404, "not-found")


def test_several_headers_once_each_are_fine(client: TestClient) -> None:
    headers = {"Idempotency-Key": "single", "X-Registry-Generation": "0", "X-Request-Timeout": "9"}
    expect(client.post("/models/mlp/adapters", json={"name": "single", "config": LORA}, headers=headers), 201)
