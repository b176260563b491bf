"""Who is signed in: the cookie, the key behind it, and the token of forms."""

import re
from collections.abc import Iterator

import pytest
from apps import Start, create, expect, expect_problem, host
from consoles import HTML, get, post, sign_in, token_of
from starlette.testclient import TestClient

from service.console import sessions as sessions_module
from service.console.sessions import COOKIE, Session, Sessions
from service.front.access.caller import ROLES
from service.front.access.failed_logins import MOST_PER_MINUTE
from service.front.access.route_roles import CONSOLE, entries

KEY = "an-admins-key-of-my-own"
ADMIN = {"x-api-key": KEY}


@pytest.fixture
def guarded(start: Start) -> Iterator[TestClient]:
    client = start(admin_key=KEY)
    yield client
    client.cookies.clear()


def make_key(client: TestClient, role: str, **others: object) -> dict[str, str]:
    return expect(client.post("/keys", headers=ADMIN, json={"name": "test", "role": role, **others}), 201)


def test_without_a_session_every_page_leads_to_the_login(guarded: TestClient) -> None:
    for path in ["/console", "/console/adapters", "/console/adapters/tone", "/console/nothing"]:
        answer = guarded.get(path, headers=HTML, follow_redirects=False)
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/console/login?back=/console")


def test_a_script_without_a_session_gets_the_problem(guarded: TestClient) -> None:
    expect_problem(guarded.get("/console"), 401, "unauthenticated")
    expect_problem(guarded.get("/console", headers={**HTML, "hx-request": "true"}), 401, "unauthenticated")


def test_a_key_opens_a_session_and_leads_back(guarded: TestClient) -> None:
    answer = post(guarded, "/login", key=KEY, back="/console/adapters?q=tone")
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/adapters?q=tone")
    cookie = answer.headers["set-cookie"]
    assert KEY not in cookie
    assert {"HttpOnly", "Path=/console", "SameSite=strict"} <= set(cookie.split("; "))
    assert "admin · default" in get(guarded, "")


@pytest.mark.parametrize("back", ["https://elsewhere.example", "//elsewhere.example", "/models", ""])
def test_a_login_leads_to_no_other_place(guarded: TestClient, back: str) -> None:
    assert post(guarded, "/login", key=KEY, back=back).headers["location"] == "/console"


def test_both_doors_count_an_addresses_wrong_keys_together(guarded: TestClient) -> None:
    for _ in range(MOST_PER_MINUTE):
        expect_problem(guarded.get("/models", headers={"x-api-key": "wrong"}), 401, "unauthenticated")
    assert "wait for" in post(guarded, "/login", key="wrong").text
    expect_problem(guarded.get("/models", headers={"x-api-key": "wrong"}), 429, "failed-logins")


def test_a_wrong_key_is_refused_and_counted(guarded: TestClient) -> None:
    for _ in range(10):
        post(guarded, "/login", key="ask_aaaaaaaa_wrong")
    answer = post(guarded, "/login", key="ask_aaaaaaaa_wrong")
    assert "There is no such key" in answer.text
    assert "wait for" in answer.text
    assert "ask_aaaaaaaa" not in answer.text
    assert guarded.get("/console", headers=HTML, follow_redirects=False).status_code == 303


def test_a_session_alone_opens_no_api(guarded: TestClient) -> None:
    sign_in(guarded, KEY)
    expect_problem(guarded.get("/adapters"), 401, "unauthenticated")


def test_a_revoked_key_ends_its_sessions_at_once(guarded: TestClient) -> None:
    made = make_key(guarded, "reader")
    sign_in(guarded, made["key"])
    get(guarded, "/adapters")
    expect(guarded.delete(f"/keys/{made['id']}", headers=ADMIN), 204)
    assert guarded.get("/console", headers=HTML, follow_redirects=False).status_code == 303


def test_signing_out_ends_the_session(guarded: TestClient) -> None:
    sign_in(guarded, KEY)
    assert post(guarded, "/logout").headers["location"] == "/console/login"
    assert guarded.get("/console", headers=HTML, follow_redirects=False).status_code == 303


def test_a_session_that_was_idle_too_long_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = Sessions("a secret of this test")
    written = sessions.write(Session("token", "key", "proof"))
    assert sessions.read(written) == Session("token", "key", "proof")
    monkeypatch.setattr(sessions_module, "IDLE_S", -1)
    assert sessions.read(written) is None


def test_only_processes_with_one_secret_share_sessions() -> None:
    written = Sessions("one secret").write(Session("token"))
    assert Sessions("one secret").read(written) == Session("token")
    assert Sessions("another").read(written) is None
    assert Sessions(None).read(written) is None
    assert Sessions("one secret").read(written + "x") is None


def test_each_role_may_open_what_the_table_says_and_nothing_else(guarded: TestClient) -> None:
    for role in ROLES:
        sign_in(guarded, make_key(guarded, role)["key"])
        token = token_of(guarded)
        for method, path, needed in entries():
            if not path.startswith(CONSOLE) or path.endswith("/logout"):
                continue
            address = re.sub(r"\{\w+\}", "1", path)
            fields = {"csrf": token} if method == "POST" else None
            answer = guarded.request(method, address, data=fields, headers={"x-csrf-token": token})
            allowed = ROLES.index(role) >= ROLES.index(needed)
            assert (answer.status_code == 403) == (not allowed), (method, path, role, answer.text)
            assert answer.status_code not in {401, 405, 500}, (method, path, role, answer.text)


def test_no_form_is_taken_without_its_sessions_token(guarded: TestClient) -> None:
    sign_in(guarded, KEY)
    for method, path, _ in entries():
        if path.startswith(CONSOLE) and method != "GET":
            for token in ["", "wrong"]:
                address = re.sub(r"\{\w+\}", "1", path)
                answer = guarded.post(address, data={"csrf": token}, headers={"x-csrf-token": token})
                assert "isn't of the session" in expect_problem(answer, 400, "malformed")["detail"], path


def test_a_service_without_keys_needs_no_login_but_the_token(start: Start) -> None:
    client = start()
    host(client, "mlp", "bases:mlp")
    create(client, "tone")
    assert "mlp" in get(client, "")
    expect_problem(client.post("/console/adapters/tone/aliases/prod", data={"version": "1"}), 400, "malformed")
    assert post(client, "/adapters/tone/aliases/prod", version="1", reason="first").status_code == 303
    assert client.cookies[COOKIE]


def test_a_cookie_that_is_not_ours_is_as_none(guarded: TestClient) -> None:
    guarded.cookies.set(COOKIE, "nonsense", path="/console")
    assert guarded.get("/console", headers=HTML, follow_redirects=False).status_code == 303


def test_a_first_step_from_another_site_is_taken_again(guarded: TestClient) -> None:
    answer = guarded.get("/console", headers={**HTML, "sec-fetch-site": "cross-site"}, follow_redirects=False)
    assert (answer.status_code, "set-cookie" in answer.headers) == (200, False)
    assert 'http-equiv="refresh"' in answer.text
