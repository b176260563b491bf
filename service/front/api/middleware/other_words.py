"""Problems in other words: another API's errors, or pages, whichever part of the service found what is wrong."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from starlette._utils import get_route_path
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.front.api.problems import PROBLEM_JSON

JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Wording:
    """What stands for a problem."""

    status: int
    media_type: str
    content: bytes


class OtherWords(Protocol):
    """Those that a part of the service's addresses has."""

    def are_for(self, scope: Scope) -> bool:
        """Whether this request is answered in them."""
        ...

    def translate(self, problem: Mapping[str, Any], scope: Scope) -> Wording:
        """A problem as JSON has it."""
        ...


@dataclass(frozen=True, slots=True)
class ApiWords:
    """Those of the API at `prefix` and below. `error` takes a problem as JSON has it, and whether a route has the
    address; it gives the status and the body that stand for it."""

    prefix: str
    error: Callable[[Mapping[str, Any], bool], tuple[int, dict[str, Any]]]

    def are_for(self, scope: Scope) -> bool:
        return is_below(self.prefix, scope)

    def translate(self, problem: Mapping[str, Any], scope: Scope) -> Wording:
        status, error = self.error(problem, "route" in scope)
        return Wording(status, JSON, json.dumps(error, ensure_ascii=False).encode())


class AnswerInOtherWords:
    """Turns every problem that is answered to those who read other `words`."""

    def __init__(self, app: ASGIApp, words: OtherWords) -> None:
        self._app = app
        self._words = words

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._words.are_for(scope):
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
                    await _send(start, self._words.translate(json.loads(body), scope), send)

        await self._app(scope, receive, translated)


def is_below(prefix: str, scope: Scope) -> bool:
    """Whether the address is `prefix`, or below it."""
    path = get_route_path(scope)
    return path == prefix or path.startswith(f"{prefix}/")


def _is_problem(start: Message) -> bool:
    return MutableHeaders(scope=start).get("content-type", "").startswith(PROBLEM_JSON)


async def _send(start: Message, wording: Wording, send: Send) -> None:
    headers = MutableHeaders(scope=start)
    headers["content-type"] = wording.media_type
    headers["content-length"] = str(len(wording.content))
    await send({**start, "status": wording.status, "headers": headers.raw})
    await send({"type": "http.response.body", "body": wording.content})
