"""Problems in the words of another API: everything below its prefix, whichever part found what is wrong."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.front.api.problems import PROBLEM_JSON

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class OtherWords:
    """Those of the API at `prefix` and below. `translate` takes a problem as JSON has it, and whether a route has the
    address; it gives the status and the body that stand for it."""

    prefix: str
    translate: Callable[[Mapping[str, Any], bool], tuple[int, dict[str, Any]]]


class AnswerInOtherWords:
    """Turns every problem that is answered at the words' prefix and below into another API's error."""

    def __init__(self, app: ASGIApp, words: OtherWords) -> None:
        self._app = app
        self._words = words

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._has(scope["path"].removeprefix(scope.get("root_path", ""))):
            await self._app(scope, receive, send)
            return
        start: Message | None = None
        body = b""

        async def translated(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start" and _is_problem(message):
                start = message
            elif start is None:
                await send(message)
            else:
                body += message.get("body", b"")
                if not message.get("more_body"):
                    await _send_error(start, *self._words.translate(json.loads(body), "route" in scope), send)

        await self._app(scope, receive, translated)

    def _has(self, path: str) -> bool:
        return path == self._words.prefix or path.startswith(f"{self._words.prefix}/")


def _is_problem(start: Message) -> bool:
    return MutableHeaders(scope=start).get("content-type", "").startswith(PROBLEM_JSON)


async def _send_error(start: Message, status: int, error: Mapping[str, Any], send: Send) -> None:
    content = json.dumps(error, ensure_ascii=False).encode()
    headers = MutableHeaders(scope=start)
    headers["content-type"] = JSON
    headers["content-length"] = str(len(content))
    await send({**start, "status": status, "headers": headers.raw})
    await send({"type": "http.response.body", "body": content})
