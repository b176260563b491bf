"""Behind a proxy that publishes the service under a path, whether it cuts that path off or not."""

import pytest
from apps import LORA, Start, expect, host
from starlette.testclient import TestClient

PREFIX = "/team/adapters"


@pytest.fixture
def behind(start: Start) -> TestClient:
    client = start(root_path=PREFIX)
    host(client, "mlp", "bases:mlp")
    return client


@pytest.mark.parametrize("cut", [True, False])
def test_both_kinds_of_address_reach_the_route_and_locations_have_the_prefix(behind: TestClient, cut: bool) -> None:
    at = "" if cut else PREFIX
    created = behind.post(f"{at}/models/mlp/adapters", json={"name": "tone", "config": LORA})
    expect(created, 201)
    assert created.headers["location"] == f"{PREFIX}/adapters/tone"
    assert expect(behind.get(f"{at}/adapters/tone"), 200)["name"] == "tone"
    assert behind.get(f"{at}/nowhere").status_code == 404
    redirect = behind.get(f"{at}/models/", follow_redirects=False)
    assert redirect.headers["location"].endswith(f"{PREFIX}/models")


def test_the_document_and_its_page_name_the_prefix(behind: TestClient) -> None:
    assert expect(behind.get("/openapi.json"), 200)["servers"] == [{"url": PREFIX}]
    assert f"{PREFIX}/openapi.json" in behind.get("/docs").text


def test_requests_are_counted_under_their_route(behind: TestClient) -> None:
    behind.get(f"{PREFIX}/models")
    assert 'route="/models"' in behind.get("/metrics").text


def test_without_a_prefix_addresses_are_as_they_are(client: TestClient) -> None:
    assert client.get(f"{PREFIX}/models").status_code == 404
    assert PREFIX not in client.get("/openapi.json").text
