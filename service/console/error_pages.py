"""Problems as pages: what went wrong and what to do, for people in a browser."""

import json
from typing import Any

from starlette._utils import get_route_path
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.console.gate import is_page
from service.console.pages import render
from service.console.sessions import HERE
from service.front.api.problems import PROBLEM_JSON


class AnswerInPages:
    """Turns every problem that a browser would show below `/console` into a page, whichever part wrote it. Scripts get
    the problem itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = get_route_path(scope) if scope["type"] == "http" else ""
        if (path != HERE and not path.startswith(f"{HERE}/")) or not is_page(Request(scope)):
            await self._app(scope, receive, send)
            return
        start: Message | None = None
        body = b""

        async def translate(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start" and _is_problem(message):
                start = message
            elif start is None:
                await send(message)
            else:
                body += message.get("body", b"")
                if not message.get("more_body"):
                    await _send_page(start, json.loads(body), scope, send)

        await self._app(scope, receive, translate)


def _is_problem(start: Message) -> bool:
    return MutableHeaders(scope=start).get("content-type", "").startswith(PROBLEM_JSON)


async def _send_page(start: Message, problem: dict[str, Any], scope: Scope, send: Send) -> None:
    content = render("problem.html", scope, problem=problem).encode()
    headers = MutableHeaders(scope=start)
    headers["content-type"] = "text/html; charset=utf-8"
    headers["content-length"] = str(len(content))
    await send({**start, "headers": headers.raw})
    await send({"type": "http.response.body", "body": content})
