"""`POST /v1/chat/completions`."""

from fastapi import APIRouter, Request, Response

from service.front.api.dependencies import RoutingKey, Timeout
from service.front.api.http.bodies import JSON, reads
from service.front.api.http.event_stream import EVENTS
from service.front.api.openai.chat_answer import ChatAnswer, ChatChunk
from service.front.api.openai.chat_body import ChatBody
from service.front.api.openai.error_bodies import documented
from service.front.api.openai.writing import read_body, write

router = APIRouter(tags=["openai"])


@router.post(
    "/v1/chat/completions",
    response_class=Response,
    responses={
        200: {
            "description": "The texts; with `stream` the data of each event is a ChatChunk, of the last one `[DONE]`",
            "content": {
                JSON: {"schema": {"$ref": f"#/components/schemas/{ChatAnswer.__name__}"}},
                EVENTS: {"schema": {"$ref": f"#/components/schemas/{ChatChunk.__name__}"}},
            },
        },
        **documented(404, 409, 413, 415, 429, 504, 507),
    },
    openapi_extra=reads({JSON: ChatBody}),
)
async def create_chat_completion(request: Request, timeout: Timeout = None, routing_key: RoutingKey = None) -> Response:
    """Go on with a chat, as OpenAI's API does; `model` names a base model or an adapter."""
    return await write(request, await read_body(ChatBody, request), timeout, routing_key)
