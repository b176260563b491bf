"""The API's own page works where there is no internet: all that it loads comes from the service."""

import re

from apps import expect_problem
from starlette.testclient import TestClient

_LOADED = re.compile(r"""(?:src|href|spec-url)=["']([^"']+)["']|url: '([^']+)'""")


def test_the_page_loads_nothing_from_another_host(client: TestClient) -> None:
    loaded = [tag or script for tag, script in _LOADED.findall(client.get("/docs").text)]
    assert len(loaded) == 4
    assert [path for path in loaded if not path.startswith("/") or path.startswith("//")] == []
    assert [client.get(path).status_code for path in loaded] == [200] * len(loaded)


def test_the_page_does_not_show_the_document_to_its_makers(client: TestClient) -> None:
    assert '"validatorUrl": null' in client.get("/docs").text


def test_a_page_that_needs_another_host_is_not_served(client: TestClient) -> None:
    expect_problem(client.get("/redoc"), 404, "not-found")
