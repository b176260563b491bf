"""Errors that nobody foresaw: a problem like every other, logged by the server."""

from pathlib import Path

import pytest
from apps import expect_problem, settings_in
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from service.bootstrap import create_app
from service.front.services.models import Models


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ValueError("secret")

    monkeypatch.setattr(Models, "find", fail)


@pytest.mark.usefixtures("fail")
def test_an_unexpected_error_is_a_problem_without_internal_details(tmp_path: Path) -> None:
    with TestClient(create_app(settings_in(tmp_path)), raise_server_exceptions=False) as client:
        response = client.get("/models/m")
        expect_problem(response, 500, "internal")
        assert "secret" not in response.text
        assert int(response.headers["x-registry-generation"]) >= 0
        counted = text_string_to_metric_families(client.get("/metrics").text)
        (answered,) = [s for family in counted for s in family.samples if s.name == "adapter_service_requests_total"]
        assert answered.labels["status"] == "500"


@pytest.mark.usefixtures("fail")
def test_the_server_is_left_to_log_it(tmp_path: Path) -> None:
    with TestClient(create_app(settings_in(tmp_path))) as client, pytest.raises(ValueError, match="secret"):
        client.get("/models/m")
