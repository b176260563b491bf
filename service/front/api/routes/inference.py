"""Inference: tensors or texts in, each row answered with the adapter that it names, in JSON or safetensors."""

import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.routing import APIRoute

from models_registry.errors import Invalid
from models_registry.inputs.json_inputs import decode_inputs
from models_registry.inputs.values import Inputs
from models_registry.records import Fault
from models_registry.references import NAME
from models_registry.safetensors_files import read_safetensors
from service.front.api.dependencies import (
    ROUTING_KEY,
    TIMEOUT,
    ModelId,
    RoutingKey,
    Timeout,
    engine_of,
    json_reader_of,
    metrics_of,
    settings_of,
)
from service.front.api.http.accepted import accepts
from service.front.api.http.bodies import (
    BINARY,
    COPIED,
    JSON,
    SAFETENSORS,
    beside_the_loop,
    media_type_of,
    read_bytes,
    reads,
    validate,
)
from service.front.api.http.client_disconnect import while_there
from service.front.api.http.event_stream import EVENTS, EventStream
from service.front.api.http.spool import MAX_JSON, spooled
from service.front.api.infer_answer import InferAnswerBody, json_of, safetensors_of
from service.front.api.infer_body import PLACES, Call, InferBody
from service.front.api.infer_events import infer_events
from service.front.api.problems import MALFORMED, Refused, documented
from service.front.requests import InferAnswer, InferRequest


class _InferRoute(APIRoute):
    """Finds out without FastAPI that a request has no parameters but its model: FastAPI takes as long for that as
    reading and checking the request takes. All others are FastAPI's, and so are their faults."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        with_parameters = super().get_route_handler()

        async def handle(request: Request) -> Response:
            model_id = request.path_params["model_id"]
            headers = request.headers
            has_parameters = request.scope["query_string"] or TIMEOUT in headers or ROUTING_KEY in headers
            if has_parameters or not NAME.fullmatch(model_id):
                return await with_parameters(request)
            return await infer(await _read_call(request, model_id), request)

        return handle


router = APIRouter(tags=["inference"], route_class=_InferRoute)


# ---- reading and writing ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Asked:
    """A call as it arrived, when, and whether its answer is to be safetensors, or its texts a stream."""

    request: InferRequest
    begun: float
    binary: bool
    stream: bool = False


# One dependency, not one for each thing that it needs: solving each costs as much as reading a short request.
async def _read_call(
    request: Request,
    model_id: ModelId,
    timeout: Timeout = None,
    routing_key: RoutingKey = None,
    adapter: Annotated[
        str | None, Query(description="With a safetensors body: a reference, or JSON.", examples=["tone@prod"])
    ] = None,
    outputs: Annotated[
        str | None, Query(description="With a safetensors body: names, split at commas.", examples=["logits"])
    ] = None,
) -> _Asked:
    """Raises `Refused` (400, 415), `TooLarge`, and `Invalid` with every field or input that is wrong."""
    begun = time.monotonic()
    deadline = None if timeout is None else begun + timeout
    binary = accepts(request, SAFETENSORS)
    settings = settings_of(request)
    if media_type_of(request, JSON, SAFETENSORS) == SAFETENSORS:
        async with spooled(request, settings.max_upload_bytes) as body:
            tensors = await beside_the_loop(body.size, lambda: read_safetensors(body.contents), COPIED)
        call = validate(Call, await _from_query(request, adapter, outputs))
        asked = InferRequest(model_id, Inputs(tensors), call.choices, call.wanted, deadline=deadline)
        return _Asked(asked.routed_by(routing_key), begun, binary)
    if in_query := [name for name in ("adapter", "outputs") if name in request.query_params]:
        raise Refused(MALFORMED, f"With a JSON body give {' and '.join(in_query)} in it, not in the query.")
    body = await read_bytes(request, settings.max_json_bytes, MAX_JSON)
    value = await json_reader_of(request).read_call(body)
    asked, stream = await beside_the_loop(len(body), lambda: _call_of(model_id, value, deadline))
    return _Asked(asked.routed_by(routing_key), begun, binary, stream)


def _call_of(model: str, value: Any, deadline: float | None) -> tuple[InferRequest, bool]:
    """With whether its texts are to be streamed."""
    asked = _validated(value)
    if asked.stream and asked.parameters is None:
        message = "is for texts that are written: give parameters, which may be {}"
        raise Invalid("There is nothing to stream.", [Fault(("stream",), message)])
    inputs = decode_inputs(asked.inputs)
    request = InferRequest(model, inputs, asked.choices, asked.wanted, asked.parameters, deadline, asked.chat)
    return request, asked.stream


def _validated(body: Any) -> InferBody:
    """Raises `Invalid`; a field one level too high, as in other APIs, is answered with its place."""
    try:
        return validate(InferBody, body)
    except Invalid as error:
        faults = [Fault(fault.loc, PLACES.get(fault.loc, fault.message)) for fault in error.faults]
        raise Invalid(error.detail, faults, hint=error.hint) from error


async def _from_query(request: Request, adapter: str | None, outputs: str | None) -> dict[str, Any]:
    """A reference can't begin as the JSON of a list or of a composition does."""
    is_json = adapter is not None and adapter.startswith(("[", "{", '"'))
    choice = await json_reader_of(request).read(adapter.encode()) if adapter and is_json else adapter or None
    return {"adapter": choice, "outputs": outputs.split(",") if outputs else None}


async def _write_answer(answer: InferAnswer, binary: bool, begun: float) -> Response:
    size = sum(value.nbytes for value in answer.outputs.values() if not isinstance(value, tuple))
    if binary:
        body = await beside_the_loop(size, lambda: safetensors_of(answer), COPIED)
    else:
        body = await beside_the_loop(size, lambda: json_of(answer))
    spent = {
        "queue": answer.queue_ms,
        "hop": answer.hop_ms,
        "load": answer.load_ms,
        "forward": answer.forward_ms,
        "total": (time.monotonic() - begun) * 1000,
    }
    timing = ", ".join(f"{name};dur={milliseconds:.3f}" for name, milliseconds in spent.items())
    return Response(body, media_type=SAFETENSORS if binary else JSON, headers={"Server-Timing": timing})


# ---- routes -----------------------------------------------------------------------------------------------------


@router.post(
    "/models/{model_id}/infer",
    response_class=Response,
    responses={
        200: {
            "description": "The outputs; every row says which version produced it. With `stream`, events: `token` "
            "`{row, text}`, `row` `{row, adapter, digest, text, finish_reason, usage}`, at last `end` `{timing}` or "
            "`error` (a problem)",
            "content": {
                JSON: {"schema": {"$ref": f"#/components/schemas/{InferAnswerBody.__name__}"}},
                SAFETENSORS: {"schema": BINARY},
                EVENTS: {"schema": {"type": "string"}},
            },
        },
        **documented(400, 404, 409, 413, 415, 422, 429, 504, 507),
    },
    openapi_extra=reads({JSON: InferBody, SAFETENSORS: BINARY}),
)
async def infer(
    asked: Annotated[_Asked, Depends(_read_call)],
    request: Request,
) -> Response:
    """Run the base model on the rows, each with the adapter that it names. `Accept` chooses the answer's media type."""
    if asked.stream:
        return EventStream(infer_events(request, asked.request))
    async with while_there(request):
        answer = await engine_of(request).infer(asked.request)
    metrics_of(request).count_inference(answer)
    return await _write_answer(answer, asked.binary, asked.begun)
