"""Signing in to the console by an identity provider: the whole way over a real issuer, and whatever can be wrong."""

from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import httpx
import httpx2
import pytest
from apps import Start, expect_problem
from consoles import HTML, get, post
from issuers import AUDIENCE, CLIENT, SECRET, Issuer, running_issuer
from starlette.testclient import TestClient

from service.console import sessions as sessions_module
from service.console.sessions import COOKIE
from service.front.access import failed_logins


@pytest.fixture(scope="module")
def running() -> Iterator[Issuer]:
    with running_issuer() as issuer:
        yield issuer


@pytest.fixture
def issuer(running: Issuer) -> Iterator[Issuer]:
    yield running
    running.person, running.away = {}, False


@pytest.fixture
def client(start: Start, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setattr(failed_logins, "MOST_PER_MINUTE", 1000)
    client = start(oidc_issuer=issuer.url, oidc_audience=AUDIENCE, oidc_client_id=CLIENT, oidc_client_secret=SECRET)
    yield client
    client.cookies.clear()


def begin(client: TestClient, back: str = "") -> str:
    """Where the provider is asked."""
    answer = client.get("/console/login/provider", params={"back": back}, headers=HTML, follow_redirects=False)
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def come_back(client: TestClient, address: str) -> httpx2.Response:
    return client.get(address, headers=HTML, follow_redirects=False)


def sign_in(client: TestClient, back: str = "") -> str:
    """Where the browser is in the end."""
    returned = httpx.get(begin(client, back)).headers["location"]
    assert returned.startswith("http://testserver/console/login/callback?")
    answer = come_back(client, returned)
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def test_the_login_page_offers_the_provider(client: TestClient) -> None:
    assert "Sign in with 127.0.0.1" in get(client, "/login")


def test_whom_the_provider_names_is_signed_in_and_led_back(client: TestClient, issuer: Issuer) -> None:
    issuer.person = {"sub": "ann", "role": "publisher", "team": "default"}
    assert sign_in(client, "/console/adapters?q=tone") == "/console/adapters?q=tone"
    page = get(client, "/adapters")
    assert "publisher · default" in page
    assert "Sign out" in page
    expect_problem(client.get("/adapters"), 401, "unauthenticated")
    assert post(client, "/logout").headers["location"] == "/console/login"
    assert client.get("/console", headers=HTML, follow_redirects=False).status_code == 303


def test_what_the_provider_is_asked_has_a_proof_a_state_and_a_nonce(client: TestClient) -> None:
    first, second = (parse_qs(urlsplit(begin(client)).query) for _ in range(2))
    assert (first["response_type"], first["code_challenge_method"], first["scope"]) == (["code"], ["S256"], ["openid"])
    assert first["redirect_uri"] == ["http://testserver/console/login/callback"]
    for secret in ("state", "nonce", "code_challenge"):
        assert len(first[secret][0]) >= 43
        assert first[secret] != second[secret]


def test_a_login_leads_to_no_other_site(client: TestClient) -> None:
    assert sign_in(client, "https://elsewhere.example/console/") == "/console"


def test_an_answer_that_was_not_asked_for_here_signs_nobody_in(client: TestClient) -> None:
    returned = httpx.get(begin(client)).headers["location"]
    client.cookies.clear()
    assert "began in this browser" in come_back(client, returned).text
    begin(client)
    assert "began in this browser" in come_back(client, returned).text
    assert client.get("/console", headers=HTML, follow_redirects=False).status_code == 303


def test_an_answer_is_taken_once(client: TestClient) -> None:
    returned = httpx.get(begin(client)).headers["location"]
    assert come_back(client, returned).status_code == 303
    assert "began in this browser" in come_back(client, returned).text


def test_an_answer_of_another_issuer_is_refused(client: TestClient, issuer: Issuer) -> None:
    returned = httpx.get(begin(client)).headers["location"]
    mixed_up = httpx.URL(returned).copy_set_param("iss", "https://elsewhere.example")
    assert "began in this browser" in come_back(client, str(mixed_up)).text


@pytest.mark.parametrize("wrong", [{"nonce": "another"}, {"nonce": None}, {"aud": AUDIENCE}, {"exp": 1}])
def test_a_wrong_token_signs_nobody_in(client: TestClient, issuer: Issuer, wrong: dict[str, object]) -> None:
    issuer.person = wrong
    returned = httpx.get(begin(client)).headers["location"]
    assert "didn&#39;t sign you in" in come_back(client, returned).text
    assert client.get("/console", headers=HTML, follow_redirects=False).status_code == 303


def test_who_is_in_no_team_or_has_no_role_is_told(client: TestClient, issuer: Issuer) -> None:
    for claims, words in (({"team": "nobodys"}, "must name one team"), ({"role": None}, "must name a role")):
        issuer.person = claims
        assert words in come_back(client, httpx.get(begin(client)).headers["location"]).text


def test_a_refusal_of_the_provider_leads_to_the_login(client: TestClient) -> None:
    state = parse_qs(urlsplit(begin(client)).query)["state"][0]
    refused = client.get(f"/console/login/callback?error=access_denied&state={state}", headers=HTML)
    assert "didn&#39;t sign you in" in refused.text


def test_a_provider_that_is_away_is_said_to_be(client: TestClient, issuer: Issuer) -> None:
    issuer.away = True
    assert "can&#39;t be reached" in client.get("/console/login/provider", headers=HTML).text


def test_a_providers_word_is_good_for_an_hour(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions_module, "PERSON_S", -1)
    sign_in(client)
    assert client.get("/console", headers=HTML, follow_redirects=False).status_code == 303


def test_a_cookie_that_was_changed_signs_nobody_in(client: TestClient) -> None:
    sign_in(client)
    cookie = client.cookies.get(COOKIE)
    assert cookie
    client.cookies.clear()
    client.cookies.set(COOKIE, f"A{cookie[1:]}" if cookie[0] != "A" else f"B{cookie[1:]}")
    assert client.get("/console", headers=HTML, follow_redirects=False).status_code == 303


def test_without_a_provider_there_is_no_such_login(start: Start) -> None:
    client = start(admin_key="an-admins-key-of-my-own")
    assert "Sign in with" not in get(client, "/login")
    assert client.get("/console/login/provider", headers=HTML).status_code == 404
