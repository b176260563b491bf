"""A chat's or a completion's way: which model and adapter are meant, what is asked of the engine, how it is
returned."""

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any
from uuid import uuid4

from fastapi import Request, Response

from models_registry.errors import Invalid, RegistryError
from models_registry.records import Fault
from service.front.api.dependencies import engine_of, metrics_of, settings_of
from service.front.api.http.bodies import JSON, M, media_type_of, read_json
from service.front.api.http.client_disconnect import while_there
from service.front.api.http.event_stream import KEEP_ALIVE, KEEP_ALIVE_S, Events, EventStream
from service.front.api.openai.error_bodies import error_body
from service.front.api.openai.text_request import TextRequest
from service.front.api.openai.versions_named import fingerprint, version_headers
from service.front.api.openai.writer import Writer
from service.front.api.problems import problem_of
from service.front.engine import Engine
from service.front.requests import AdapterChoice, AdapterChoices, Digest, InferRequest
from service.front.services.streamed_texts import StreamedTexts
from service.protocol.texts import WrittenText


async def read_body(schema: type[M], request: Request) -> M:
    """Raises `Refused` (400, 415), `TooLarge`, `Invalid`."""
    media_type_of(request, JSON)
    return await read_json(schema, request, settings_of(request).max_json_bytes)


async def write(request: Request, body: TextRequest, timeout: float | None, routing_key: str | None) -> Response:
    """Raises as `Engine.infer` does, at the places of `body`."""
    deadline = None if timeout is None else time.monotonic() + timeout
    with body.places.named():
        model, adapter = target(engine_of(request), body.model, body.adapter)
        inputs, parameters = body.inputs(), body.parameters()
    asked = InferRequest(model, inputs, adapter, None, parameters, deadline, body.CHAT).routed_by(routing_key)
    if body.stream:
        return EventStream(_events(request, body, asked))
    async with while_there(request):
        with body.places.named():
            answer = await engine_of(request).infer(asked)
    metrics_of(request).count_inference(answer)
    writer = body.writer(_head(body, model, answer.adapter[0], answer.digest[0]), answer.call_form)
    texts = tuple(map(str, answer.outputs["text"]))
    content = writer.whole(texts, answer.texts).model_dump_json(exclude_unset=True)
    return Response(content, media_type=JSON, headers=version_headers(answer.adapter[0]))


def target(engine: Engine, name: str, given: AdapterChoices) -> tuple[str, AdapterChoices]:
    """The base model that `name` means, and the adapter on it, or what is `given` for a base model. Raises `NotFound`,
    and `Invalid` where `name` is an adapter and others are given."""
    model, reference = engine.names.split(name)
    if reference is None or given is None:
        return model, given if reference is None else reference
    message = f"names adapters beside {reference!r}, which is one: let `model` be the base model {model!r}"
    raise Invalid("The adapter is named twice.", [Fault(("adapter",), message)])


def _head(body: TextRequest, model: str, adapter: AdapterChoice, digest: Digest) -> Mapping[str, Any]:
    return {
        "id": f"{body.PREFIX}{uuid4().hex}",
        "created": int(time.time()),
        "model": body.model,
        "system_fingerprint": fingerprint(model, adapter, digest),
    }


# ---- streams ----------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _events(request: Request, body: TextRequest, asked: InferRequest) -> AsyncGenerator[Events]:
    with body.places.named():
        async with engine_of(request).stream(asked) as streamed:
            adapter = streamed.adapter_of(0)
            writer = body.writer(_head(body, asked.model, adapter, streamed.digest_of(0)), streamed.call_form)
            yield Events(_chunks(request, body, streamed, writer), version_headers(adapter))


async def _chunks(
    request: Request, body: TextRequest, streamed: StreamedTexts, writer: Writer
) -> AsyncGenerator[bytes]:
    ends: dict[int, WrittenText] = {}
    yield b"".join(writer.begin())
    try:
        async with aclosing(streamed.parts(KEEP_ALIVE_S)) as all_parts:
            async for parts in all_parts:
                ends |= {part.row: part.end for part in parts if part.end is not None}
                yield b"".join(chunk for part in parts for chunk in writer.chunks(part)) or KEEP_ALIVE
    except Exception as error:  # the status is sent already, so it becomes an event; internal errors are raised on
        yield writer.failure(error_body(problem_of(request, error)))
        if not isinstance(error, RegistryError):
            raise
        return
    metrics_of(request).count_inference(streamed.answer)
    yield b"".join(writer.end(ends))
