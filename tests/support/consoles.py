"""A caller of the console, as a browser is one: it keeps the cookie, and sends back the token of its pages."""

import re
from typing import Any

import httpx2
from starlette.testclient import TestClient

HTML = {"accept": "text/html"}
_TOKEN = re.compile(r'<meta name="csrf" content="([^"]+)">')


def get(client: TestClient, path: str, status: int = 200, **query: Any) -> str:
    """The page."""
    answer = client.get(f"/console{path}", params=query or None, headers=HTML)
    assert answer.status_code == status, answer.text
    return answer.text


def token_of(client: TestClient) -> str:
    """Of this client's session."""
    found = _TOKEN.search(client.get("/console/login", headers=HTML).text)
    assert found is not None
    return found[1]


def post(client: TestClient, path: str, **fields: Any) -> httpx2.Response:
    """What a form of a page of ours sends; the answer, without the page to which it leads."""
    data = {"csrf": token_of(client), **fields}
    return client.post(f"/console{path}", data=data, headers=HTML, follow_redirects=False)


def sign_in(client: TestClient, key: str) -> None:
    answer = post(client, "/login", key=key)
    assert answer.status_code == 303, answer.text
