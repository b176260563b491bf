"""`POST /v2/models/{model}/infer`, and the same with an adapter's reference in the place of a version."""

import time
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response

from models_registry.inputs.values import Inputs
from service.front.api.dependencies import (
    ModelId,
    RoutingKey,
    Timeout,
    engine_of,
    json_reader_of,
    metrics_of,
    settings_of,
)
from service.front.api.http.bodies import (
    BINARY,
    COPIED,
    JSON,
    OCTETS,
    beside_the_loop,
    media_type_of,
    read_bytes,
    reads,
    validate,
)
from service.front.api.http.client_disconnect import while_there
from service.front.api.http.spool import MAX_JSON, spooled, too_large
from service.front.api.openai.versions_named import version_headers
from service.front.api.problems import MALFORMED, Refused
from service.front.api.v2.binary_tensors import opened
from service.front.api.v2.errors import documented
from service.front.api.v2.infer_answer import InferenceAnswer, write_answer
from service.front.api.v2.infer_body import InferenceBody, choices_of, inputs_of
from service.front.api.v2.models import Reference
from service.front.requests import AdapterChoices, InferRequest

router = APIRouter(tags=["v2"])

HEADER_SIZE = "Inference-Header-Content-Length"
HeaderSize = Annotated[
    int | None,
    Header(
        alias=HEADER_SIZE,
        ge=1,
        description="How many bytes of the body are JSON; what binary tensors hold stands behind.",
        examples=[153],
    ),
]
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The outputs, and what produced them. Binary ones stand behind the JSON, whose length is in "
        f"{HEADER_SIZE}",
        "content": {
            JSON: {"schema": {"$ref": f"#/components/schemas/{InferenceAnswer.__name__}"}},
            OCTETS: {"schema": BINARY},
        },
    },
    **documented(404, 409, 413, 415, 422, 504, 507),
}
_READS = reads({JSON: InferenceBody, OCTETS: BINARY})


@dataclass(frozen=True, slots=True)
class _Given:
    """What a call's headers say, and when it arrived. `timeout` is in seconds."""

    begun: float
    header_size: int | None
    timeout: float | None
    routing_key: str | None

    def deadline(self, microseconds: int | None) -> float | None:
        """The earlier one of the header's and the body's own."""
        limits = (self.timeout, None if microseconds is None else microseconds / 1e6)
        return min((self.begun + limit for limit in limits if limit is not None), default=None)


async def _read_headers(
    header_size: HeaderSize = None, timeout: Timeout = None, routing_key: RoutingKey = None
) -> _Given:
    return _Given(time.monotonic(), header_size, timeout, routing_key)


Given = Annotated[_Given, Depends(_read_headers)]


@router.post("/v2/models/{model_id}/infer", response_class=Response, responses=_ANSWERS, openapi_extra=_READS)
async def infer_by_protocol(model_id: ModelId, request: Request, given: Given) -> Response:
    """Run the base model on named tensors or texts, as the Open Inference Protocol has it."""
    return await _answer(request, model_id, None, given)


@router.post(
    "/v2/models/{model_id}/versions/{reference}/infer",
    response_class=Response,
    responses=_ANSWERS,
    openapi_extra=_READS,
)
async def infer_version_by_protocol(
    model_id: ModelId, reference: Reference, request: Request, given: Given
) -> Response:
    """The same with an adapter, whose reference stands in the place of a version."""
    return await _answer(request, model_id, reference, given)


async def _answer(request: Request, model: str, reference: str | None, given: _Given) -> Response:
    body, asked = await _read(request, model, reference, given)
    async with while_there(request):
        answer = await engine_of(request).infer(asked.routed_by(given.routing_key))
    metrics_of(request).count_inference(answer)
    size = sum(value.nbytes for value in answer.outputs.values() if not isinstance(value, tuple))
    written = await beside_the_loop(size, lambda: write_answer(body, answer))
    same = len(set(map(str, answer.adapter))) == 1
    headers = version_headers(answer.adapter[0]) if same else {}
    if written.header_size is None:
        return Response(written.content, media_type=JSON, headers=headers)
    return Response(written.content, media_type=OCTETS, headers={**headers, HEADER_SIZE: str(written.header_size)})


async def _read(
    request: Request, model: str, reference: str | None, given: _Given
) -> tuple[InferenceBody, InferRequest]:
    """Raises `Refused` (400, 415), `TooLarge`, `Invalid`."""
    settings, size = settings_of(request), given.header_size
    media_type_of(request, JSON, OCTETS)
    if size is None:
        content = await read_bytes(request, settings.max_json_bytes, MAX_JSON)
        body, inputs, choices = await _parse(request, content, memoryview(b""), reference)
    elif size > settings.max_json_bytes:
        raise too_large(settings.max_json_bytes, MAX_JSON, "The JSON before the binary data is")
    else:
        async with spooled(request, settings.max_upload_bytes) as spool:
            view = opened(spool.contents)
            if size > len(view):
                raise Refused(MALFORMED, f"The body has {len(view)} bytes, fewer than {HEADER_SIZE} says: {size}.")
            body, inputs, choices = await _parse(request, bytes(view[:size]), view[size:], reference)
    deadline, chat = given.deadline(body.own.timeout), body.own.chat
    return body, InferRequest(model, inputs, choices, body.wanted, body.writing, deadline, chat)


async def _parse(
    request: Request, content: bytes, binary: memoryview, reference: str | None
) -> tuple[InferenceBody, Inputs, AdapterChoices]:
    body = validate(InferenceBody, await json_reader_of(request).read_inference(content))
    adapter = body.parameters.get("adapter")
    if isinstance(adapter, str) and adapter.startswith(("[", "{")):  # no reference begins so
        adapter = await json_reader_of(request).read(adapter.encode())
    choices = choices_of(adapter, reference)
    return body, await beside_the_loop(len(content) + len(binary), lambda: inputs_of(body, binary), COPIED), choices
