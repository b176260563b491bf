"""Problems in OpenAI's words: `{"error": {message, type, param, code}}`, for everything below `/v1`."""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, Field
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.front.api.problems import PROBLEM_JSON

BELOW = "/v1/"
JSON = "application/json"
# OpenAI's own words, where it has one for a problem; others keep ours.
_CODES: Mapping[str, str] = {
    "context-length-exceeded": "context_length_exceeded",
    "not-found": "unknown_url",
    "unauthenticated": "invalid_api_key",
}
_TYPES: Mapping[int, str] = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
MOST_NAMED = 10
"""Of what is wrong, in the message."""


class ErrorDetails(BaseModel):
    message: str = Field(
        description="What was wrong this time, and what to do.",
        examples=["There is no adapter and no base model 'tone'."],
    )
    type: str = Field(description="The kind of error.", examples=["invalid_request_error", "server_error"])
    param: str | None = Field(description="The field that is wrong.", examples=["messages[0].role"])
    code: str | None = Field(
        description="OpenAI's word for it where there is one, else the problem's type.", examples=["model_not_found"]
    )


class ErrorBody(BaseModel):
    """An error, as OpenAI writes it. Its id stands in the header `X-Request-ID`."""

    error: ErrorDetails = Field(title="Error", description="What went wrong.")


def error_body(problem: Mapping[str, Any], *, is_route: bool = True) -> dict[str, Any]:
    """Of a problem as JSON has it. What a route doesn't find is a model; elsewhere nothing has the address."""
    status, kind = int(problem["status"]), str(problem["type"])
    faults = problem["errors"]
    is_model = is_route and kind == "not-found"
    param = _param(faults[0]["loc"]) if faults else "model" if is_model else None
    return {
        "error": {
            "message": _message(problem, faults),
            "type": _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error"),
            "param": param,
            "code": "model_not_found" if is_model else _code(kind, status),
        }
    }


def _code(kind: str, status: int) -> str:
    return "rate_limit_exceeded" if status == 429 else _CODES.get(kind, kind)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route below `/v1`: these errors, and 400, 401, 403, 429, 500 and 503 as all have."""
    content = {JSON: {"schema": {"$ref": f"#/components/schemas/{ErrorBody.__name__}"}}}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": content}
        for status in sorted({*statuses, 400, 401, 403, 429, 500, 503})
    }


def _message(problem: Mapping[str, Any], faults: Sequence[Mapping[str, Any]]) -> str:
    parts = [str(problem["detail"])]
    parts += [
        f"{_param(fault['loc'])}: {fault['message']}"
        for fault in faults[:MOST_NAMED]
        if fault["message"] != problem["detail"]
    ]
    if problem.get("hint"):
        parts.append(str(problem["hint"]))
    return " ".join(part if part.endswith((".", "?", "!")) else f"{part}." for part in parts)


def _param(loc: Sequence[str | int]) -> str | None:
    """`messages[0].role`, as OpenAI writes a place."""
    written = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in loc)
    return written.removeprefix(".") or None


def openai_status(problem: Mapping[str, Any]) -> int:
    """What is well-formed but wrong is a bad request there, but for what our own contract says of the load shim."""
    status = int(problem["status"])
    return 400 if status == 422 and problem["type"] != "outside-lora-root" else status


class AnswerInOpenAIsWords:
    """Turns every problem that is answered below `/v1` into OpenAI's error, whichever part wrote it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].removeprefix(scope.get("root_path", "")).startswith(BELOW):
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
                    await _send_error(start, json.loads(body), "route" in scope, send)

        await self._app(scope, receive, translate)


def _is_problem(start: Message) -> bool:
    return MutableHeaders(scope=start).get("content-type", "").startswith(PROBLEM_JSON)


async def _send_error(start: Message, problem: Mapping[str, Any], is_route: bool, send: Send) -> None:
    content = json.dumps(error_body(problem, is_route=is_route), ensure_ascii=False).encode()
    headers = MutableHeaders(scope=start)
    headers["content-type"] = JSON
    headers["content-length"] = str(len(content))
    await send({**start, "status": openai_status(problem), "headers": headers.raw})
    await send({"type": "http.response.body", "body": content})
