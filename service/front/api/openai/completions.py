"""`POST /v1/completions`."""

from fastapi import APIRouter, Request, Response

from service.front.api.dependencies import RoutingKey, Timeout
from service.front.api.http.bodies import JSON, reads
from service.front.api.http.event_stream import EVENTS
from service.front.api.openai.completion_answer import CompletionAnswer
from service.front.api.openai.completion_body import CompletionBody
from service.front.api.openai.error_bodies import documented
from service.front.api.openai.writing import read_body, write

router = APIRouter(tags=["openai"])


@router.post(
    "/v1/completions",
    response_class=Response,
    responses={
        200: {
            "description": "The texts; with `stream` the data of each event is such an answer, of the last `[DONE]`",
            "content": {
                media_type: {"schema": {"$ref": f"#/components/schemas/{CompletionAnswer.__name__}"}}
                for media_type in (JSON, EVENTS)
            },
        },
        **documented(404, 409, 413, 415, 429, 504, 507),
    },
    openapi_extra=reads({JSON: CompletionBody}),
)
async def create_completion(request: Request, timeout: Timeout = None, routing_key: RoutingKey = None) -> Response:
    """Continue texts as they stand, as OpenAI's API does; `model` names a base model or an adapter."""
    return await write(request, await read_body(CompletionBody, request), timeout, routing_key)
