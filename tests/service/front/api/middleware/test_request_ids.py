"""`X-Request-ID`: in the answer, in a problem and in the log's line."""

import logging

import pytest
from apps import expect_problem
from starlette.testclient import TestClient

from service.front.api.middleware import request_log


def test_every_request_gets_an_id_of_its_own(client: TestClient) -> None:
    ids = {client.get("/health/live").headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3
    assert all(len(id) == 32 for id in ids)


def test_a_callers_own_id_is_in_the_answer_the_problem_and_the_log(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, request_log.__name__)
    answer = client.get("/adapters/none", headers={"X-Request-ID": "trace-7/a"})
    assert answer.headers.get_list("x-request-id") == ["trace-7/a"]
    assert expect_problem(answer, 404, "not-found")["request_id"] == "trace-7/a"
    assert " trace-7/a GET /adapters/none 404" in caplog.messages[-1]


@pytest.mark.parametrize("sent", [b"", b"two words", b"x" * 129, "é".encode(), b"a\tb"])
def test_an_id_that_is_long_or_not_printable_is_replaced(client: TestClient, sent: bytes) -> None:
    answer = client.get("/adapters/none", headers=[(b"X-Request-ID", sent)])
    id = answer.headers["x-request-id"]
    assert id.isalnum()
    assert len(id) == 32
    assert answer.json()["request_id"] == id
