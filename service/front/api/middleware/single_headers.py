"""Headers that mean one thing. Sent twice, either could be meant, and whichever was taken could be the wrong one.

`If-Match`, `If-None-Match` and `Accept` are lists, whose lines belong together (RFC 9110).
"""

from starlette.types import ASGIApp, Receive, Scope, Send

from service.front.api.middleware.generation import HEADER as GENERATION
from service.front.api.problems import MALFORMED, problem

_ONCE = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "X-API-Key",
    "X-Request-Timeout",
    "X-Routing-Key",
    GENERATION,
)
NAMES = {name.lower().encode(): name for name in _ONCE}


class RefuseRepeatedHeaders:
    """400 before the request reaches anything of ours."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sent = [name for name, _ in scope["headers"] if name in NAMES] if scope["type"] == "http" else []
        repeated = [NAMES[name] for name in dict.fromkeys(sent) if sent.count(name) > 1]
        answer = problem(MALFORMED, f"Send {' and '.join(repeated)} once, not several times.") if repeated else None
        await (answer or self._app)(scope, receive, send)
