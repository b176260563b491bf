"""Headers on every answer for browsers: guess no type, show it in no frame, send other sites no referrer."""

from collections.abc import Mapping
from typing import Final

from starlette._utils import get_route_path
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.front.access.route_roles import CONSOLE

HEADERS: Final[Mapping[str, str]] = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
DOCS_POLICY: Final = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Of the page that shows the document: its scripts are ours, and the call that starts them stands in it."""
CONSOLE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""Of the console's pages: nothing stands in them that runs, so that what users wrote can't either."""
POLICIES: Final[Mapping[str, str]] = {"/docs": DOCS_POLICY, CONSOLE: CONSOLE_POLICY}
ONLY_TLS: Final = "max-age=31536000"
"""After a visit over TLS, browsers use TLS for a year."""


class SetSecurityHeaders:
    """A header that the answer has already stays as it is."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                path = get_route_path(scope)
                for below, policy in POLICIES.items():
                    if path == below or path.startswith(f"{below}/"):
                        headers.setdefault("Content-Security-Policy", policy)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if scope["scheme"] == "https":
                    headers.setdefault("Strict-Transport-Security", ONLY_TLS)
            await send(message)

        await self._app(scope, receive, guarded)
