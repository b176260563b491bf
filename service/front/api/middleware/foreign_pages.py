"""Pages of other sites, in a browser on this machine, can't change a service that has no keys.

A browser lets any page send simple requests to an address of this machine, and says in `Origin` whose page it is. Where
there are keys, a page has none to send.
"""

from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.front.access.guard import is_loopback
from service.front.api.problems import FORBIDDEN, problem

READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class RefuseForeignPages:
    """`app.state.key_ring` is the service's."""

    def __init__(self, app: ASGIApp, allowed: Collection[str]) -> None:
        """`allowed` are origins that the operator trusts."""
        self._app = app
        self._allowed = frozenset(allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in READING:
            origin = Headers(scope=scope).get("origin")
            if origin is not None and scope["app"].state.key_ring.is_open and not self._trusts(origin):
                detail = (
                    f"This service has no keys, and the page of {origin!r} isn't on this machine. List that origin in "
                    "ADAPTER_SERVICE_CORS_ORIGINS, or make a key with `adapterctl keys create --role admin`."
                )
                await problem(FORBIDDEN, detail)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _trusts(self, origin: str) -> bool:
        if origin in self._allowed:
            return True
        try:
            return is_loopback(urlsplit(origin).hostname or "")
        except ValueError:  # no address at all
            return False
