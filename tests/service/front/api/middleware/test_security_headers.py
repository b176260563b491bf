"""What browsers are told, which pages may call, and keys where they don't belong."""

import logging

import pytest
from apps import Start, expect_problem
from starlette.testclient import TestClient

PAGE = "https://app.example.org"


@pytest.mark.parametrize("path", ["/adapters", "/nothing", "/docs", "/v1/models", "/openapi.json"])
def test_every_answer_has_security_headers(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["content-security-policy"].startswith("default-src 'none'; ")
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert ("script-src 'self'" in headers["content-security-policy"]) == (path == "/docs")
    assert "strict-transport-security" not in headers


def test_answers_over_tls_have_strict_transport_security(client: TestClient) -> None:
    assert client.get("https://testserver/adapters").headers["strict-transport-security"] == "max-age=31536000"


def test_a_401_has_security_headers_too(start: Start) -> None:
    headers = start(admin_key="the-operators-own-key").get("/adapters").headers
    assert headers["x-content-type-options"] == "nosniff"


def test_pages_of_other_origins_may_not_call(client: TestClient) -> None:
    preflight = {"origin": PAGE, "access-control-request-method": "DELETE"}
    assert "access-control-allow-origin" not in client.options("/adapters", headers=preflight).headers
    assert "access-control-allow-origin" not in client.get("/adapters", headers={"origin": PAGE}).headers


def test_pages_of_named_origins_may_call_with_a_key(start: Start) -> None:
    service = start(cors_origins=(PAGE,), admin_key="the-operators-own-key")
    preflight = {"origin": PAGE, "access-control-request-method": "DELETE"}
    wanted = {**preflight, "access-control-request-headers": "authorization,x-api-key,if-match"}
    answer = service.options("/adapters/tone", headers=wanted)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == PAGE
    refused = service.get("/adapters", headers={"origin": PAGE})
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == PAGE
    assert "access-control-allow-credentials" not in refused.headers
    other = {**preflight, "origin": "https://elsewhere.example.org"}
    assert "access-control-allow-origin" not in service.options("/adapters/tone", headers=other).headers


@pytest.mark.parametrize(
    "query", ["api_key=x", "Access_Token=x", "key=", "limit=1&token=x", "limit=ask_aaaaaaaa_secret"]
)
def test_a_key_in_the_query_is_refused_and_not_logged(
    client: TestClient, query: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    problem = expect_problem(client.get(f"/adapters?{query}"), 400, "malformed")
    assert "revoke it" in problem["detail"]
    assert "X-API-Key" in problem["hint"]
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("service.")]
    assert ours
    assert not [line for line in ours if query in line]
    assert "secret" not in str(problem)


@pytest.mark.parametrize("query", ["%C3%96%ff=1", "a=%F0%9F%98%80", "%", "&&=&", "text=task_abcdefgh_1"])
def test_a_query_of_any_bytes_is_looked_through(client: TestClient, query: str) -> None:
    assert client.get(f"/adapters?{query}").status_code in {200, 400}
