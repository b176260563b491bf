"""`POST /v1/responses`."""

from fastapi import APIRouter, Request, Response

from service.front.api.dependencies import RoutingKey, Timeout
from service.front.api.http.bodies import JSON, reads
from service.front.api.http.event_stream import EVENTS
from service.front.api.openai.error_bodies import documented
from service.front.api.openai.response_answer import ResponseAnswer, ResponseEvent
from service.front.api.openai.responses_body import ResponsesBody
from service.front.api.openai.writing import read_body, write

router = APIRouter(tags=["openai"])


@router.post(
    "/v1/responses",
    response_class=Response,
    responses={
        200: {
            "description": "The text; with `stream` the data of each event is a ResponseEvent",
            "content": {
                JSON: {"schema": {"$ref": f"#/components/schemas/{ResponseAnswer.__name__}"}},
                EVENTS: {"schema": {"$ref": f"#/components/schemas/{ResponseEvent.__name__}"}},
            },
        },
        **documented(404, 409, 413, 415, 429, 504, 507),
    },
    openapi_extra=reads({JSON: ResponsesBody}),
)
async def create_response(request: Request, timeout: Timeout = None, routing_key: RoutingKey = None) -> Response:
    """Answer an input, as OpenAI's API does; `model` names a base model or an adapter. Nothing is kept."""
    return await write(request, await read_body(ResponsesBody, request), timeout, routing_key)
