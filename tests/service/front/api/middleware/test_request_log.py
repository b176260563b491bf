"""The log's line for each request."""

import logging

import pytest
from apps import ROWS, Start, host
from starlette.testclient import TestClient

from service.front.api.middleware import request_log


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, request_log.__name__)
    return caplog


def test_an_inference_is_logged_with_where_its_time_went(start: Start, lines: pytest.LogCaptureFixture) -> None:
    client = start()
    host(client, "mlp", "bases:mlp")
    client.post("/models/mlp/infer", json={"inputs": {"x": ROWS}})
    line = lines.messages[-1]
    assert "POST /models/mlp/infer 200" in line
    assert all(f"{spent};dur=" in line for spent in ("queue", "load", "forward", "total"))


def test_an_address_stays_on_its_line(client: TestClient, lines: pytest.LogCaptureFixture) -> None:
    client.get("/adapters/a%0AINFO:%20all%20is%20well")
    assert "GET /adapters/a%0AINFO:%20all%20is%20well 404" in lines.messages[-1]
    assert "\n" not in lines.messages[-1]


def test_nothing_is_written_where_nobody_reads_it(client: TestClient, lines: pytest.LogCaptureFixture) -> None:
    lines.set_level(logging.WARNING, request_log.__name__)
    client.get("/models")
    assert not [record for record in lines.records if record.name == request_log.__name__]
