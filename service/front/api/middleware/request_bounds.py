"""What no route reads: encoded bodies, transfer encodings but `chunked`, queries of many parameters or with keys."""

import re
from urllib.parse import parse_qsl

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.front.api.problems import MALFORMED, UNSUPPORTED_ENCODING, UNSUPPORTED_MEDIA_TYPE, problem

QUERY_PARAMETERS = 64
KEY_PARAMETERS = frozenset(
    {"access_token", "api-key", "api_key", "apikey", "authorization", "key", "token", "x-api-key"}
)
"""By which other services take a key from the query; no route has one of them."""

_KEY = re.compile(r"\bask_[a-z2-7]{8}_")


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
    if any(name.lower() in KEY_PARAMETERS or _KEY.search(value) for name, value in _query(scope["query_string"])):
        return problem(
            MALFORMED,
            "A key doesn't belong into an address, which proxies and browsers keep: take the one that was sent for "
            "known to others, and revoke it.",
            hint="Send it in a header: X-API-Key, or Authorization with the word Bearer before it.",
        )
    return None


def _query(query: bytes) -> list[tuple[str, str]]:
    # Byte by byte, because it may hold anything; of bytes themselves the library reads ASCII alone.
    return parse_qsl(query.decode("latin-1"), keep_blank_values=True, encoding="latin-1") if query else []


def _named(lines: list[str]) -> set[str]:
    return {name.strip().lower() for line in lines for name in line.split(",")} - {""}
