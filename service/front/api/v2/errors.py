"""Problems in the protocol's words: `{"error": "…"}`, for everything at and below `/v2`."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, Field

from service.front.api.middleware.other_words import ApiWords
from service.front.api.problem_words import message_of

JSON = "application/json"


class InferenceError(BaseModel):
    """An error, as the Open Inference Protocol writes it. Its id stands in the header `X-Request-ID`."""

    error: str = Field(
        description="What was wrong this time, where, and what to do.",
        examples=["There is no base model 'tone'."],
    )


def _translate(problem: Mapping[str, Any], _: bool) -> tuple[int, dict[str, Any]]:
    """The status, which is the problem's own, and the body."""
    return int(problem["status"]), {"error": message_of(problem)}


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route below `/v2`: these errors, and 400, 401, 403, 429, 500 and 503 as all have."""
    content = {JSON: {"schema": {"$ref": f"#/components/schemas/{InferenceError.__name__}"}}}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": content}
        for status in sorted({*statuses, 400, 401, 403, 429, 500, 503})
    }


THE_PROTOCOLS_WORDS = ApiWords("/v2", _translate)
