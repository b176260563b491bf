"""A page of another site can't change a service without keys through its visitor's browser."""

from pathlib import Path

import pytest
from apps import expect_problem, settings_in
from pydantic import SecretStr
from starlette.testclient import TestClient

from service.bootstrap import create_app

TEAM = {"name": "fraud"}


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://[::bad", "http://127.0.0.1.evil.example"])
def test_another_sites_page_changes_nothing(client: TestClient, origin: str) -> None:
    refused = expect_problem(client.post("/teams", json=TEAM, headers={"Origin": origin}), 403, "forbidden")
    assert "ADAPTER_SERVICE_CORS_ORIGINS" in refused["detail"]
    assert client.get("/teams", headers={"Origin": origin}).status_code == 200
    assert TEAM["name"] not in client.get("/teams").text


@pytest.mark.parametrize("origin", ["http://127.0.0.1:8000", "http://localhost:3000", "http://[::1]:8000"])
def test_pages_of_this_machine_may_change_it(client: TestClient, origin: str) -> None:
    changed = client.patch("/teams/default", json={"limits": {}}, headers={"Origin": origin})
    assert changed.status_code == 200


def test_where_there_are_keys_they_decide(tmp_path: Path) -> None:
    with TestClient(create_app(settings_in(tmp_path, admin_key=SecretStr("the-operators-own-key")))) as client:
        page = {"Origin": "https://console.example"}
        assert client.post("/teams", json=TEAM, headers=page).status_code == 401
        bearer = {**page, "Authorization": "Bearer the-operators-own-key"}
        assert client.post("/teams", json=TEAM, headers=bearer).status_code == 201


def test_an_origin_that_the_operator_lists_is_trusted(tmp_path: Path) -> None:
    with TestClient(create_app(settings_in(tmp_path, cors_origins=("https://console.example",)))) as client:
        assert client.post("/teams", json=TEAM, headers={"Origin": "https://console.example"}).status_code == 201
        assert client.post("/teams", json=TEAM, headers={"Origin": "https://evil.example"}).status_code == 403
