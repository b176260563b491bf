"""Problems in OpenAI's words: `{"error": {message, type, param, code}}`, for everything below `/v1`."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, Field

from service.front.api.middleware.other_words import ApiWords
from service.front.api.problem_words import message_of, place_of

JSON = "application/json"
# OpenAI's own words, where it has one for a problem; others keep ours.
_CODES: Mapping[str, str] = {
    "context-length-exceeded": "context_length_exceeded",
    "not-found": "unknown_url",
    "unauthenticated": "invalid_api_key",
}
_TYPES: Mapping[int, str] = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


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
    param = place_of(faults[0]["loc"]) if faults else "model" if is_model else None
    return {
        "error": {
            "message": message_of(problem),
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


def openai_status(problem: Mapping[str, Any]) -> int:
    """What is well-formed but wrong is a bad request there, but for what our own contract says of the load shim."""
    status = int(problem["status"])
    return 400 if status == 422 and problem["type"] != "outside-lora-root" else status


def _translate(problem: Mapping[str, Any], is_route: bool) -> tuple[int, dict[str, Any]]:
    """The status and the body of a problem."""
    return openai_status(problem), error_body(problem, is_route=is_route)


OPENAIS_WORDS = ApiWords("/v1", _translate)
