"""Inference: tensors or texts in, each row answered with the adapter that it names, in JSON or safetensors."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from models_registry.errors import Invalid
from models_registry.inputs.json_inputs import decode_inputs
from models_registry.inputs.values import Inputs
from models_registry.records import Fault, Location
from models_registry.safetensors_files import read_safetensors
from service.front.api.dependencies import ModelId, engine_of, json_reader_of, metrics_of, settings_of
from service.front.api.http.bodies import (
    BINARY,
    COPIED,
    JSON,
    SAFETENSORS,
    JsonObject,
    beside_the_loop,
    media_type_of,
    read_bytes,
    reads,
    validate,
)
from service.front.api.http.client_disconnect import while_there
from service.front.api.http.spool import MAX_JSON, spooled
from service.front.api.http.tensors import encode_outputs, encode_safetensors, write_json
from service.front.api.problems import MALFORMED, Refused, documented
from service.front.requests import AdapterChoice, InferAnswer, InferRequest

router = APIRouter(tags=["inference"])


# ---- schemas ----------------------------------------------------------------------------------------------------

_Reference = Annotated[str, StringConstraints(min_length=1, max_length=257)]
_Weight = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Composition: TypeAlias = Annotated[dict[_Reference, _Weight], Field(min_length=1)]
_Choice = _Reference | Composition | None


class _Call(BaseModel):
    """What both media types say: which adapters, and which of the model's outputs."""

    model_config = ConfigDict(extra="forbid")

    adapter: _Choice | list[_Choice] = Field(
        default=None,
        description="A reference, null for the base, a composition `{reference: weight}`, or a list with one a row.",
        examples=["tone@prod", ["a", None, {"b": 0.7, "c": 0.3}]],
    )
    outputs: list[str] | None = Field(
        default=None,
        description="Only these of the model's outputs. By default all of them; for text what the task is about: "
        "`embedding` (feature-extraction), `label`, `score` and `logits` (text-classification), `next_token` and its "
        "`score` (text-generation). All others, such as `logits` and `last_hidden_state`, come if they are named.",
        examples=[["logits"]],
    )

    @property
    def choices(self) -> AdapterChoice | tuple[AdapterChoice, ...]:
        return tuple(self.adapter) if isinstance(self.adapter, list) else self.adapter

    @property
    def wanted(self) -> tuple[str, ...] | None:
        return None if self.outputs is None else tuple(self.outputs)


class InferBody(_Call):
    """`inputs` are named tensors, `{"text": [...]}` or `{"messages": [...]}`.

    Without `parameters` the base model runs once on a text as it stands. With them a text-generation model writes, and
    where it has a chat template, a text is then a user's turn in a chat, and its continuation the answer. `chat` says
    otherwise.
    """

    inputs: dict[str, Any] = Field(
        description="Named tensors, as nested lists or `{dtype, shape, data}`; or `text`, one string a row; or "
        "`messages`, a list with one chat a row, each a list of `{role, content}` as OpenAI writes them, which the "
        "model's chat template turns into text.",
        examples=[
            {"input_ids": [[1, 2, 3]]},
            {"text": ["Tell me about the sea."]},
            {
                "messages": [
                    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why is it salty?"}]
                ]
            },
        ],
    )
    parameters: JsonObject | None = Field(
        default=None,
        description="Have a text-generation model write: `max_new_tokens` (or `max_tokens`), `min_new_tokens`, "
        "`do_sample`, `temperature`, `top_k`, `top_p`, `repetition_penalty`, `no_repeat_ngram_size`, `seed`, and "
        "`stop` (the text ends before it) or `stop_strings` (the text ends with it). `{}` is greedy, of 64 tokens.",
        examples=[{"max_new_tokens": 32, "stop": ["\n"]}],
    )
    chat: bool | None = Field(
        default=None,
        description="Whether each text is a user's turn, put into the model's chat template (true), or is taken as it "
        "stands (false). By default true with `parameters` where the model has a template, else false.",
        examples=[True],
    )


class TensorAnswer(BaseModel):
    """`data` is flat and row-major; numbers that JSON can't write are `"NaN"`, `"Infinity"` and `"-Infinity"`."""

    dtype: str = Field(description="torch's name without `torch.`.", examples=["float32"])
    shape: list[int] = Field(description="As torch has it.", examples=[[2, 2]])
    data: list[float | int | bool | str] = Field(description="Flat and row-major.", examples=[[0.25, -1.5, "NaN", 3.0]])


class TimingAnswer(BaseModel):
    queue_ms: float = Field(description="Milliseconds from the request's arrival to its forward.", examples=[0.4])
    forward_ms: float = Field(description="Milliseconds of the forward that it shared.", examples=[7.9])


class InferAnswerBody(BaseModel):
    """One `adapter` and one `digest` a row (one in all where there are no rows): exactly what produced it."""

    model: str = Field(description="The base model's id.", examples=["smollm2"])
    adapter: list[str | dict[str, float] | None] = Field(
        description="The exact versions, null for the base.", examples=[["tone@3", None, {"b@1": 0.7, "c@4": 0.3}]]
    )
    digest: list[str | dict[str, str] | None] = Field(
        description="The sha256 of their stored state dicts.", examples=[[f"sha256:{'1f' * 32}", None]]
    )
    outputs: dict[str, TensorAnswer | list[str]] = Field(
        description="The model's outputs by name.",
        examples=[{"logits": {"dtype": "float32", "shape": [1, 2], "data": [0.5, -2.0]}}],
    )
    timing: TimingAnswer = Field(title="Timing", description="Where the time went.")


STEERING = (
    "max_tokens",
    "max_new_tokens",
    "stop",
    "stop_strings",
    "temperature",
    "top_p",
    "top_k",
    "seed",
    "do_sample",
)
# What other APIs have at the top of a body, and where it stands here.
PLACES: Mapping[Location, str] = {
    ("text",): 'belongs into inputs: "inputs": {"text": ["…"]}',
    ("prompt",): 'is a text: "inputs": {"text": ["…"]}, with "chat": false where it is to be continued as it stands',
    (
        "messages",
    ): 'belongs into inputs, as a list of chats: "inputs": {"messages": [[{"role": "user", "content": "…"}]]}',
    ("model",): "is in the address: POST /models/{id}/infer",
    **{(name,): f'belongs into parameters: "parameters": {{"{name}": …}}' for name in STEERING},
}


# ---- reading and writing ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Asked:
    """A call as it came, when it came, and whether its answer is to be safetensors."""

    request: InferRequest
    begun: float
    binary: bool


# One dependency, not one for each thing that it needs: solving each costs as much as reading a short request.
async def _read_call(
    request: Request,
    model_id: ModelId,
    timeout: Annotated[
        float | None,
        Header(
            alias="X-Request-Timeout",
            gt=0,
            allow_inf_nan=False,
            description="Seconds until its answer; then it is 504.",
            examples=[30],
        ),
    ] = None,
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
    binary = SAFETENSORS in ", ".join(request.headers.getlist("accept")).lower()
    settings = settings_of(request)
    if media_type_of(request, JSON, SAFETENSORS) == SAFETENSORS:
        async with spooled(request, settings.max_upload_bytes) as body:
            tensors = await beside_the_loop(body.size, lambda: read_safetensors(body.contents), COPIED)
        call = validate(_Call, await _from_query(request, adapter, outputs))
        asked = InferRequest(model_id, Inputs(tensors), call.choices, call.wanted, deadline=deadline)
        return _Asked(asked, begun, binary)
    if in_query := [name for name in ("adapter", "outputs") if name in request.query_params]:
        raise Refused(MALFORMED, f"With a JSON body, {' and '.join(in_query)} belong into it, not into the query.")
    body = await read_bytes(request, settings.max_json_bytes, MAX_JSON)
    value = await json_reader_of(request).read_call(body)
    asked = await beside_the_loop(len(body), lambda: _call_of(model_id, value, deadline))
    return _Asked(asked, begun, binary)


def _call_of(model: str, value: Any, deadline: float | None) -> InferRequest:
    asked = _validated(value)
    inputs = decode_inputs(asked.inputs)
    return InferRequest(model, inputs, asked.choices, asked.wanted, asked.parameters, deadline, asked.chat)


def _validated(body: Any) -> InferBody:
    """Raises `Invalid`; what stands one level too high, as in other APIs, is told its place."""
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


def _head(answer: InferAnswer) -> dict[str, Any]:
    return {
        "model": answer.model,
        "adapter": [dict(choice) if isinstance(choice, Mapping) else choice for choice in answer.adapter],
        "digest": [dict(digest) if isinstance(digest, Mapping) else digest for digest in answer.digest],
    }


def _timing(answer: InferAnswer) -> dict[str, float]:
    return {"queue_ms": answer.queue_ms, "forward_ms": answer.forward_ms}


def _as_json(answer: InferAnswer) -> bytes:
    return write_json({**_head(answer), "outputs": encode_outputs(answer.outputs), "timing": _timing(answer)})


def _as_safetensors(answer: InferAnswer) -> bytes:
    """What is no tensor (generated text, labels) travels with the rest of the answer."""
    texts = {name: list(value) for name, value in answer.outputs.items() if isinstance(value, tuple)}
    rest = {**_head(answer), "outputs": texts, "timing": _timing(answer)}
    return encode_safetensors(answer.outputs, write_json(rest).decode())


async def _write_answer(answer: InferAnswer, binary: bool, begun: float) -> Response:
    size = sum(value.nbytes for value in answer.outputs.values() if not isinstance(value, tuple))
    if binary:
        body = await beside_the_loop(size, lambda: _as_safetensors(answer), COPIED)
    else:
        body = await beside_the_loop(size, lambda: _as_json(answer))
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
            "description": "The outputs; every row says which version produced it",
            "content": {
                JSON: {"schema": {"$ref": "#/components/schemas/InferAnswerBody"}},
                SAFETENSORS: {"schema": BINARY},
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
    async with while_there(request):
        answer = await engine_of(request).infer(asked.request)
    metrics_of(request).count_inference(answer)
    return await _write_answer(answer, asked.binary, asked.begun)
