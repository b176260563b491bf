"""Bearer tokens of an identity provider, over the real app and a real issuer on this machine."""

import base64
import hmac
import json
from collections.abc import Iterator
from hashlib import sha256
from time import time
from typing import Any

import jwt
import pytest
from apps import RANDOM_LORA, Start, expect, expect_problem, host
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from issuers import AUDIENCE, Issuer, running_issuer
from starlette.testclient import TestClient

from service.front.access import failed_logins, issuer_keys

ADMIN = {"x-api-key": "the-operators-own-key"}


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with running_issuer() as issuer:
        yield issuer


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many tokens of a test are wrong, each answer says so."""
    monkeypatch.setattr(failed_logins, "MOST_PER_MINUTE", 1000)


@pytest.fixture
def service(start: Start, issuer: Issuer) -> TestClient:
    return start(admin_key=ADMIN["x-api-key"], oidc_issuer=issuer.url, oidc_audience=AUDIENCE)


def refused(service: TestClient, token: str) -> None:
    answer = service.get("/adapters", headers={"authorization": f"Bearer {token}"})
    problem = expect_problem(answer, 401, "unauthenticated")
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert token not in json.dumps(problem)


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def test_a_token_names_the_caller_their_team_and_their_role(service: TestClient, issuer: Issuer) -> None:
    expect(service.post("/teams", headers=ADMIN, json={"name": "fraud"}), 201)
    expect(service.get("/teams/fraud", headers=issuer.bearer(team="fraud", role="reader")), 200)
    expect_problem(service.get("/teams/default", headers=issuer.bearer(team="fraud")), 404, "not-found")
    expect_problem(service.get("/teams", headers=issuer.bearer(role="publisher")), 403, "forbidden")
    expect(service.get("/teams", headers=issuer.bearer(role=["reader", "admin", "other"])), 200)
    expect(service.get("/teams", headers=issuer.bearer(role="admin", team=["default", "nobodys"])), 200)


def test_a_token_of_a_removed_team_is_refused(service: TestClient, issuer: Issuer) -> None:
    expect(service.post("/teams", headers=ADMIN, json={"name": "leaving"}), 201)
    bearer = issuer.bearer(team="leaving", role="reader")
    expect(service.get("/adapters", headers=bearer), 200)
    expect(service.delete("/teams/leaving", headers=ADMIN), 204)
    expect_problem(service.get("/adapters", headers=bearer), 403, "forbidden")


def test_an_admin_key_that_looks_like_a_token_is_still_the_key(start: Start, issuer: Issuer) -> None:
    service = start(admin_key="the.operators.key", oidc_issuer=issuer.url, oidc_audience=AUDIENCE)
    expect(service.get("/teams", headers={"authorization": "Bearer the.operators.key"}), 200)
    refused(service, "another.operators.key")


def test_events_and_versions_name_the_subject(service: TestClient, issuer: Issuer) -> None:
    service.headers.update(ADMIN)
    host(service, "mlp", "bases:mlp")
    del service.headers["x-api-key"]
    body = {"name": "tone", "config": RANDOM_LORA}
    bearer = issuer.bearer(sub="ann@example.org")
    expect(service.post("/models/mlp/adapters", headers=bearer, json=body), 201)
    events = expect(service.get("/events", headers=bearer), 200)["items"]
    assert {event["by"] for event in events if event["subject"] == "tone@1"} == {"oidc:ann@example.org"}
    (version,) = expect(service.get("/adapters/tone", headers=bearer), 200)["versions"]
    assert version["created_by"] == "oidc:ann@example.org"


def test_a_subject_is_never_taken_for_a_key(service: TestClient, issuer: Issuer) -> None:
    made = expect(
        service.post(
            "/keys", headers=issuer.bearer(sub="admin-key", role="admin"), json={"name": "n", "role": "reader"}
        ),
        201,
    )
    assert made["created_by"] == "oidc:admin-key"


def test_a_token_that_is_not_the_issuers_is_refused(service: TestClient, issuer: Issuer) -> None:
    now = int(time())
    with running_issuer() as other:
        refused(service, other.token(iss=issuer.url))
        refused(service, other.token())
    good = issuer.token()
    head, body, signature = good.split(".")
    refused(service, f"{head}.{part(issuer.claims(role='admin'))}.{signature}")
    refused(service, f"{head}.{body}.")
    refused(service, f"{part({'alg': 'none', 'kid': 'one'})}.{body}.")
    refused(service, f"{part({'alg': 'none', 'kid': 'one'})}.{body}.{signature}")
    refused(service, f"{part({'alg': 'RS512', 'kid': 'one'})}.{body}.{signature}")
    refused(service, issuer.token(exp=now - 120))
    refused(service, issuer.token(nbf=now + 120))
    refused(service, issuer.token(iat=now + 120))
    refused(service, issuer.token(aud="another"))
    refused(service, issuer.token(iss="https://another.example.org"))
    left_out: list[dict[str, Any]] = [{name: None} for name in ("exp", "aud", "iss", "sub")]
    for changed in left_out:
        refused(service, issuer.token(**changed))
    refused(service, issuer.token(exp="soon"))
    refused(service, "a.b.c")
    refused(service, f"{part([])}.{body}.{signature}")
    refused(service, f"{part({'alg': 'RS256', 'kid': 7})}.{body}.{signature}")
    expect(service.get("/adapters", headers={"authorization": f"Bearer {good}"}), 200)


def test_the_public_key_is_no_secret_to_sign_with(service: TestClient, issuer: Issuer) -> None:
    public = issuer.private["one"].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signed = f"{part({'alg': 'HS256', 'kid': 'one', 'typ': 'JWT'})}.{part(issuer.claims())}"
    mac = base64.urlsafe_b64encode(hmac.new(public, signed.encode(), sha256).digest()).rstrip(b"=").decode()
    refused(service, f"{signed}.{mac}")


def test_a_header_that_must_be_understood_is_not_overlooked(service: TestClient, issuer: Issuer) -> None:
    headers = {"kid": "one", "crit": ["exp"], "exp": 1}
    refused(service, jwt.encode(issuer.claims(), issuer.private["one"], "RS256", headers=headers))


def test_clocks_may_differ_by_less_than_a_minute(service: TestClient, issuer: Issuer) -> None:
    now = int(time())
    expect(service.get("/adapters", headers=issuer.bearer(exp=now - 20)), 200)
    expect(service.get("/adapters", headers=issuer.bearer(nbf=now + 20, iat=now + 20)), 200)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"team": "nobodys"}, "'team' must name one team"),
        ({"team": None}, "'team' must name one team"),
        ({"team": 7}, "'team' must name one team"),
        ({"role": "owner"}, "'role' must name a role"),
        ({"role": None}, "'role' must name a role"),
        ({"sub": "a\nb"}, "`sub`"),
        ({"sub": "a" * 256}, "`sub`"),
    ],
)
def test_the_refusal_of_a_valid_token_names_the_missing_claim(
    service: TestClient, issuer: Issuer, changed: dict[str, Any], said: str
) -> None:
    problem = expect_problem(service.get("/adapters", headers=issuer.bearer(**changed)), 403, "forbidden")
    assert said in problem["detail"]


def test_claims_may_lie_deeper(start: Start, issuer: Issuer) -> None:
    deeper = {"oidc_role_claim": "realm_access.roles", "oidc_team_claim": "https://example.org/team"}
    service = start(oidc_issuer=issuer.url, oidc_audience=AUDIENCE, **deeper)
    claims: dict[str, Any] = {"realm_access": {"roles": ["admin"]}, "https://example.org/team": "default"}
    expect(service.get("/teams", headers=issuer.bearer(**claims)), 200)


def test_where_there_is_an_issuer_a_caller_without_a_token_is_refused(start: Start, issuer: Issuer) -> None:
    service = start(oidc_issuer=issuer.url, oidc_audience=AUDIENCE, host="0.0.0.0")
    expect_problem(service.get("/adapters"), 401, "unauthenticated")
    expect(service.get("/adapters", headers=issuer.bearer()), 200)
    expect_problem(service.get("/adapters", headers={"x-api-key": issuer.token()}), 401, "unauthenticated")


def test_keys_work_beside_tokens(service: TestClient) -> None:
    expect(service.get("/adapters", headers=ADMIN), 200)
    expect(service.get("/adapters", headers={"authorization": f"Bearer {ADMIN['x-api-key']}"}), 200)
    expect_problem(service.get("/adapters", headers={"x-api-key": "ask_aaaaaaaa_wrong"}), 401, "unauthenticated")


def test_an_issuer_may_sign_with_a_curve_and_change_its_keys(
    start: Start, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(issuer_keys, "RETRY_S", 0.0)
    service = start(oidc_issuer=issuer.url, oidc_audience=AUDIENCE)
    old = issuer.bearer()
    expect(service.get("/adapters", headers=old), 200)
    issuer.add_ec("two")
    expect(service.get("/adapters", headers=issuer.bearer("two", "ES256")), 200)
    issuer.withdraw("one")
    issuer.add_ec("three")
    expect(service.get("/adapters", headers=issuer.bearer("three", "ES256")), 200)
    expect_problem(service.get("/adapters", headers=old), 401, "unauthenticated")
    issuer.add_rsa("one")


def test_a_known_key_is_accepted_while_the_issuer_is_away(
    service: TestClient, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    expect(service.get("/adapters", headers=issuer.bearer()), 200)
    monkeypatch.setattr(issuer_keys, "RETRY_S", 0.0)
    monkeypatch.setattr(issuer_keys, "KEPT_S", 0.0)
    monkeypatch.setattr(issuer, "away", True)
    expect(service.get("/adapters", headers=issuer.bearer(sub="bob")), 200)
    issuer.private["new"] = issuer.private["one"]
    answer = service.get("/adapters", headers=issuer.bearer("new"))
    expect_problem(answer, 503, "unavailable")
    assert answer.headers["retry-after"]


def test_a_service_starts_while_the_issuer_is_away(start: Start) -> None:
    with running_issuer() as issuer:
        issuer.away = True
        service = start(admin_key=ADMIN["x-api-key"], oidc_issuer=issuer.url, oidc_audience=AUDIENCE)
        expect_problem(service.get("/adapters", headers=issuer.bearer()), 503, "unavailable")
        expect(service.get("/adapters", headers=ADMIN), 200)


def test_strangers_do_not_have_the_issuer_asked_again_and_again(start: Start) -> None:
    with running_issuer() as issuer:
        service = start(oidc_issuer=issuer.url, oidc_audience=AUDIENCE)
        good = issuer.bearer()
        for _ in range(3):
            expect(service.get("/adapters", headers=good), 200)
        for number in range(5):
            issuer.private[f"unknown-{number}"] = issuer.private["one"]
            refused(service, issuer.token(f"unknown-{number}"))
        assert issuer.asked == 1
