"""`POST /v1/embeddings`: an encoder's pooled output for each text, each with its own adapter if need be."""

import time

from fastapi import APIRouter, Request, Response

from service.front.api.dependencies import RoutingKey, Timeout, engine_of, metrics_of
from service.front.api.http.bodies import JSON, beside_the_loop, reads
from service.front.api.http.client_disconnect import while_there
from service.front.api.openai.embeddings_answer import EmbeddingsAnswer, embeddings_as_json
from service.front.api.openai.embeddings_body import EmbeddingsBody
from service.front.api.openai.error_bodies import documented
from service.front.api.openai.versions_named import version_headers
from service.front.api.openai.writing import read_body, target
from service.front.requests import InferRequest

router = APIRouter(tags=["openai"])


@router.post(
    "/v1/embeddings",
    response_class=Response,
    responses={
        200: {
            "description": "An embedding for each text, in their order",
            "content": {JSON: {"schema": {"$ref": f"#/components/schemas/{EmbeddingsAnswer.__name__}"}}},
        },
        **documented(404, 409, 413, 415, 429, 504, 507),
    },
    openapi_extra=reads({JSON: EmbeddingsBody}),
)
async def create_embeddings(request: Request, timeout: Timeout = None, routing_key: RoutingKey = None) -> Response:
    """Turn texts into vectors, as OpenAI's API does; `model` names a base model or an adapter."""
    body = await read_body(EmbeddingsBody, request)
    deadline = None if timeout is None else time.monotonic() + timeout
    with body.places.named():
        model, adapter = target(engine_of(request), body.model, body.choices)
        asked = InferRequest(model, body.inputs(), adapter, ("embedding", "token_count"), deadline=deadline)
        async with while_there(request):
            answer = await engine_of(request).infer(asked.routed_by(routing_key))
        vectors = body.shortened(answer.outputs["embedding"])
    metrics_of(request).count_inference(answer)
    content = await beside_the_loop(vectors.nbytes, lambda: embeddings_as_json(body, vectors, answer))
    same = len(set(map(str, answer.adapter))) == 1
    return Response(content, media_type=JSON, headers=version_headers(answer.adapter[0]) if same else {})
