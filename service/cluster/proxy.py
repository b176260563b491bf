"""What Serve's proxies answer where a front has ended: the service's own words, and not Serve's.

A proxy finds this by `RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH`, which `adapterctl cluster up` sets.
"""

from typing import Final

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.front.api.middleware.other_words import AnswerInOtherWords
from service.front.api.openai.error_bodies import OPENAIS_WORDS
from service.front.api.problems import UNAVAILABLE, problem
from service.front.api.v2.errors import THE_PROTOCOLS_WORDS

IMPORT_PATH: Final = "service.cluster.proxy:middlewares"
LOST: Final = "The process that was to answer has ended, or none was there; send it again, and another one answers."


class AnswerForLostFronts:
    """Where a front ends before it has answered, Serve says nothing; where none is there, 503 in plain text, which no
    front does."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_begun, is_serves = False, False

        async def of_fronts(message: Message) -> None:
            nonlocal has_begun, is_serves
            is_serves = is_serves or _is_serves(message)
            if not is_serves:
                has_begun = True
                await send(message)

        await self._app(scope, receive, of_fronts)
        if not has_begun:
            await problem(UNAVAILABLE, LOST)(scope, receive, send)


def middlewares() -> list[Middleware]:
    """The last one is the outermost."""
    return [
        Middleware(AnswerForLostFronts),
        Middleware(AnswerInOtherWords, words=OPENAIS_WORDS),
        Middleware(AnswerInOtherWords, words=THE_PROTOCOLS_WORDS),
    ]


def _is_serves(message: Message) -> bool:
    if message["type"] != "http.response.start":
        return False
    kind = Headers(raw=message["headers"]).get("content-type", "text/plain")
    return message["status"] >= 500 and kind.startswith("text/plain")
