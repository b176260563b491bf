"""What a caller reads where Serve's proxy has no answer of a front's."""

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from service.cluster.proxy import middlewares


class Silence(Response):
    """What Serve's proxy sends where a front has died."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        return


SERVES = {"died": Silence(), "none": PlainTextResponse("no replicas", 503)}
FRONTS = {
    500: JSONResponse({"type": "internal"}, 500, media_type="application/problem+json"),
    200: PlainTextResponse("a metric"),
}


def asked(response: Response, path: str = "/models/m/infer") -> tuple[int, str, str]:
    """Through a proxy's middlewares, as Serve puts them around each other."""

    async def answer(_: object) -> Response:
        return response

    app: object = Starlette(routes=[Route("/{path:path}", answer)])
    for middleware in middlewares():
        app = middleware.cls(app, *middleware.args, **middleware.kwargs)  # pyright: ignore[reportArgumentType]
    got = TestClient(app, raise_server_exceptions=False).get(path)  # pyright: ignore[reportArgumentType]
    return got.status_code, got.headers["content-type"], got.text


@pytest.mark.parametrize("why", list(SERVES))
def test_what_serve_says_is_a_problem_that_may_be_sent_again(why: str) -> None:
    code, kind, text = asked(SERVES[why])
    assert (code, kind) == (503, "application/problem+json")
    assert "send it again" in text


@pytest.mark.parametrize(("path", "field"), [("/v1/models", '"error":{'), ("/v2/health/ready", '"error":"')])
def test_other_apis_get_it_in_their_words(path: str, field: str) -> None:
    code, kind, text = asked(SERVES["died"], path)
    assert (code, kind) == (503, "application/json")
    assert field in text.replace(" ", "")


@pytest.mark.parametrize("status", list(FRONTS))
def test_what_a_front_says_stays_as_it_is(status: int) -> None:
    response = FRONTS[status]
    code, _, text = asked(response)
    assert (code, text) == (status, bytes(response.body).decode())
