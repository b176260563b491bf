"""Who looks at the console: by the session in a cookie, by a key in a header as everywhere, or anybody where that is
allowed. A browser that shows neither is led to the login.

Stands outside of the authentication, which takes the caller from here and checks what their role may do.
"""

from typing import Final, Protocol
from urllib.parse import quote

from starlette._utils import get_route_path
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.console.pages import render
from service.console.sessions import COOKIE, HERE, IDLE_S, LOGIN, SESSION, Person, Session, Sessions
from service.front.access.caller import Caller
from service.front.access.key_ring import KeyRing, Unknown
from service.front.access.route_roles import is_open
from service.front.api.middleware.authentication import CALLER

HTMX: Final = "hx-request"
"""The header of what a page asks for by itself."""


class PersonsCallers(Protocol):
    """What an identity provider says of whom it named."""

    def recall(self, person: Person) -> Caller | None: ...


class ConsoleGate:
    """`app.state.key_ring` is the service's, and so is `app.state.identity_provider`, None where there is none."""

    def __init__(self, app: ASGIApp, sessions: Sessions) -> None:
        self._app = app
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = get_route_path(scope) if scope["type"] == "http" else ""
        if path != HERE and not path.startswith(f"{HERE}/"):
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        ring: KeyRing = scope["app"].state.key_ring
        session = self._sessions.read(request.cookies.get(COOKIE))
        scope[SESSION] = session or self._sessions.begin()
        caller = self._caller(request, session, ring, scope["app"].state.identity_provider)
        if caller is not None:
            scope[CALLER] = caller
        elif is_page(request) and not is_open(path) and not _has_key(request.headers):
            if session is None and request.headers.get("sec-fetch-site") == "cross-site":
                # No browser sends the cookie with the first step from another site, but with the second.
                await HTMLResponse(render("arriving.html", scope))(scope, receive, send)
            else:
                await _to_login(request, path)(scope, receive, send)
            return

        async def keep(message: Message) -> None:
            if message["type"] == "http.response.start":
                # What a page asks for by itself keeps no session alive.
                if scope[SESSION] is not session or HTMX not in request.headers:
                    _set_cookie(message, scope, self._sessions.write(scope[SESSION]))
                headers = MutableHeaders(scope=message)
                headers.setdefault("Cache-Control", "no-store")
                # Without a referrer a browser says of our own forms that they come from nowhere (`Origin: null`).
                headers.setdefault("Referrer-Policy", "same-origin")
            await send(message)

        is_asset = path.startswith(f"{HERE}/assets/")
        await self._app(scope, receive, send if is_asset else keep)

    def _caller(
        self, request: Request, session: Session | None, ring: KeyRing, provider: "PersonsCallers | None"
    ) -> Caller | None:
        """None where it is the authentication's turn to look for a key."""
        if session is not None and (caller := self._sessions.caller_of(session, ring)) is not None:
            return caller
        if session is not None and session.person is not None and provider is not None:
            return provider.recall(session.person)
        if _has_key(request.headers):
            return None
        try:
            return ring.identify(None)
        except Unknown:
            return None


def session_of(connection: HTTPConnection) -> Session:
    return connection.scope[SESSION]


def is_page(request: Request) -> bool:
    """Whether a browser shows the answer, and no script of a page reads it."""
    return "text/html" in request.headers.get("accept", "") and HTMX not in request.headers


def _has_key(headers: Headers) -> bool:
    return "authorization" in headers or "x-api-key" in headers


def _to_login(request: Request, path: str) -> Response:
    query = request.url.query
    back = path + (f"?{query}" if query else "") if request.method == "GET" else HERE
    return RedirectResponse(f"{LOGIN}?back={quote(back)}", 303)


def _set_cookie(start: Message, scope: Scope, value: str) -> None:
    answer = Response()
    answer.set_cookie(
        COOKIE,
        value,
        max_age=IDLE_S,
        path=scope.get("root_path", "") + HERE,
        secure=scope["scheme"] == "https",
        httponly=True,
        samesite="strict",
    )
    MutableHeaders(scope=start).append("Set-Cookie", answer.headers["set-cookie"])
