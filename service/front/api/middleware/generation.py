"""`X-Registry-Generation`: every answer says which state of the registry it saw at least, and a request that sends it
back is answered from that state or a newer one, whichever process it reaches."""

import re

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models_registry.errors import Overloaded, Unavailable
from service.front.api.problems import MALFORMED, OVERLOADED, UNAVAILABLE, problem
from service.front.engine import Engine

HEADER = "X-Registry-Generation"
_NUMBER = re.compile(r"\d{1,18}", re.ASCII)


class TellGeneration:
    """Sets the header on every answer, from memory."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = str(_engine_in(scope).generation)
            await send(message)

        await self._app(scope, receive, tell)


class FollowGeneration:
    """Reads the header before the request reaches anything of ours, from memory where that is as far."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        seen = Headers(scope=scope).get(HEADER) if scope["type"] == "http" else None
        refusal = None if seen is None else await _reach(_engine_in(scope), seen)
        await (refusal or self._app)(scope, receive, send)


def _engine_in(scope: Scope) -> Engine:
    return scope["app"].state.engine


async def _reach(engine: Engine, seen: str) -> Response | None:
    """None once the engine is as far as the caller has seen, else why it isn't."""
    if not _NUMBER.fullmatch(seen):
        return problem(MALFORMED, f"{HEADER} must be a number as an answer gave it, not {seen}.")
    try:
        if engine.reached < int(seen):
            await run_in_threadpool(engine.catch_up)
    except Unavailable as error:
        return problem(UNAVAILABLE, error.detail)
    except Overloaded as error:
        return problem(OVERLOADED, error.detail)
    if engine.reached < int(seen):
        return problem(
            UNAVAILABLE, f"The registry is at generation {engine.reached}; the caller has seen {seen}. Try again."
        )
    return None
