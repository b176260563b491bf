"""What no route reads: encoded bodies, transfer encodings but `chunked`, and queries of very many parameters."""

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.front.api.problems import MALFORMED, UNSUPPORTED_ENCODING, UNSUPPORTED_MEDIA_TYPE, problem

QUERY_PARAMETERS = 64


class RefuseUnreadable:
    """Answers before the request reaches anything of ours, whatever its route."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = _refusal(scope) if scope["type"] == "http" else None
        await (answer or self._app)(scope, receive, send)


def _refusal(scope: Scope) -> Response | None:
    headers = Headers(scope=scope)
    if _named(headers.getlist("content-encoding")) - {"identity"}:
        return problem(
            UNSUPPORTED_MEDIA_TYPE,
            "The body has a Content-Encoding; bodies are read as they are.",
            headers={"Accept-Encoding": "identity"},
            hint="Send the body uncompressed, without Content-Encoding.",
        )
    if _named(headers.getlist("transfer-encoding")) - {"chunked"}:
        return problem(UNSUPPORTED_ENCODING, "The only Transfer-Encoding that is read is chunked.")
    if scope["query_string"].count(b"&") >= QUERY_PARAMETERS:
        return problem(MALFORMED, f"The query has more than {QUERY_PARAMETERS} parameters.")
    return None


def _named(lines: list[str]) -> set[str]:
    return {name.strip().lower() for line in lines for name in line.split(",")} - {""}
