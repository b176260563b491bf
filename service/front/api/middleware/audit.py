"""From where and by which request something is changed, and attempts at changes that are refused, for the events.

Stands outside of the authentication, so that it sees who was refused by it.
"""

from datetime import UTC, datetime
from urllib.parse import quote

from asgi_correlation_id import correlation_id
from starlette._utils import get_route_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models_registry.authors import Author, authored_by, current_author
from models_registry.event_records import Refusal
from models_registry.redaction import redacted
from service.front.access.caller import current_caller
from service.front.access.route_roles import RouteRoles
from service.front.api.middleware.foreign_pages import READING

LONGEST_ADDRESS = 64
HIDDEN = "service.hidden"
"""In the scope of a request that was answered 404 because the caller may not know of what it names."""


class RecordOrigin:
    """`app.state.refusals` is where refused attempts go."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._roles = RouteRoles()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with authored_by(Author(address=address_of(scope), request_id=correlation_id.get())):
            await self._app(scope, receive, send if scope["method"] in READING else self._watching(scope, send))

    def _watching(self, scope: Scope, send: Send) -> Send:
        async def watch(message: Message) -> None:
            if message["type"] == "http.response.start" and _is_refused(scope, message["status"]):
                needed = self._roles.find(scope["method"], get_route_path(scope))
                if needed is not None and needed.changes:
                    scope["app"].state.refusals.note(_refusal(scope, message["status"]))
            await send(message)

        return watch


def address_of(scope: Scope) -> str | None:
    """The caller's, as the server has it: a trusted proxy's word for it, or the connection's own."""
    return None if scope["client"] is None else scope["client"][0][:LONGEST_ADDRESS]


def _is_refused(scope: Scope, status: int) -> bool:
    return status in {401, 403} or (status == 404 and HIDDEN in scope)


def _refusal(scope: Scope, status: int) -> Refusal:
    author = current_author()
    path = redacted(quote(scope["path"], safe="/@:,"))
    team = current_caller().team if author.by is not None else None
    return Refusal(datetime.now(UTC), author, team, f"{scope['method']} {path}", status)
