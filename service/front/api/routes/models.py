"""Base models: registering one, what is known of it, in and out of memory."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from time import monotonic
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from models_registry.adapters.catalog import METHODS
from models_registry.errors import Invalid, NotFound
from models_registry.records import HuggingFaceSource, ModuleInfo, Once, PythonSource, Source
from service.front.api.dependencies import ModelId, Name, TheEngine, TheSettings, drain_of
from service.front.api.http.bodies import JSON, JsonObject, media_type_of, read_json, reads
from service.front.api.http.idempotency import IdempotencyKey, asked_once
from service.front.api.http.paging import Page, PagingQuery
from service.front.api.problems import documented
from service.front.engine import Engine
from service.front.requests import ModelModules, ModelState, ModelStatus

router = APIRouter(tags=["models"])

MAX_LABELS = 1 << 20


# ---- schemas ----------------------------------------------------------------------------------------------------


class HuggingFaceSourceBody(BaseModel):
    """A transformers directory under the service's model roots (safetensors), or a GGUF `file` in it."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["huggingface"] = Field(description="A directory as transformers saves it.")
    path: str = Field(min_length=1, description="Under one of the service's model roots.", examples=["smollm2"])
    file: str | None = Field(
        default=None, description="A GGUF file in it, instead of safetensors.", examples=["model-q8_0.gguf"]
    )

    def source(self) -> Source:
        return HuggingFaceSource(self.path, self.file)


class PythonSourceBody(BaseModel):
    """An allow-listed callable that returns an `nn.Module` when it is called with `kwargs`."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["python"] = Field(description="A callable that the operator allows.")
    factory: str = Field(
        min_length=1, description="`package.module:callable`, on the service's list.", examples=["mymodels:tiny"]
    )
    kwargs: JsonObject = Field(default={}, description="What it is called with.", examples=[{"width": 8}])

    def source(self) -> Source:
        return PythonSource(self.factory, self.kwargs)


class NewModelBody(BaseModel):
    """`dtype`, `device` and `task` are by default the source's own, the service's, and the architecture's."""

    model_config = ConfigDict(extra="forbid")

    id: Name = Field(description="What it is called from now on.", examples=["smollm2"])
    source: Annotated[HuggingFaceSourceBody | PythonSourceBody, Field(discriminator="kind")] = Field(
        description="Where its module comes from.", examples=[{"kind": "huggingface", "path": "smollm2"}]
    )
    dtype: str | None = Field(default=None, description="torch's name without `torch.`", examples=["bfloat16"])
    device: str | None = Field(default=None, description="Where it runs.", examples=["cuda:1"])
    task: str | None = Field(default=None, description="A Hugging Face pipeline tag", examples=["text-generation"])
    num_labels: int | None = Field(
        default=None,
        ge=1,
        le=MAX_LABELS,
        examples=[3],
        description="How many classes a classifier has whose head is not in its files; by default as many as its "
        "config says, else as the first adapter has. Each adapter then brings its own head.",
    )
    example_inputs: JsonObject | None = Field(
        default=None,
        description="Inputs that the model takes, as a request writes them. What fails of them stands in `warnings`.",
        examples=[{"x": [[1.0, 2.0, 3.0, 4.0]]}],
    )


class ModelAnswer(BaseModel):
    """`parameters`, `bytes` and `fingerprint` are null until the model was built once; `reason` says why it failed."""

    id: str = Field(description="The base model's id.", examples=["smollm2"])
    state: ModelState = Field(title="State", description="Requests are answered while it is `ready`.")
    reason: str | None = Field(description="Why it failed.", examples=[None])
    source: HuggingFaceSourceBody | PythonSourceBody = Field(
        description="Where its module comes from.", examples=[{"kind": "huggingface", "path": "smollm2", "file": None}]
    )
    task: str | None = Field(description="Its Hugging Face pipeline tag.", examples=["text-generation"])
    num_labels: int | None = Field(description="As asked for.", examples=[3])
    dtype: str | None = Field(description="torch's name without `torch.`.", examples=["bfloat16"])
    device: str | None = Field(description="Where it runs.", examples=["cpu"])
    parameters: int | None = Field(description="How many numbers it has.", examples=[134515008])
    bytes: int | None = Field(description="What they take in memory.", examples=[269030016])
    fingerprint: str | None = Field(
        description="The sha256 over every weight's name, shape, dtype and bytes.", examples=[f"sha256:{'2e' * 32}"]
    )
    example_inputs: Mapping[str, Any] | None = Field(
        description="As they were registered.", examples=[{"x": [[1.0, 2.0, 3.0, 4.0]]}]
    )
    created_at: datetime = Field(description="When it was registered.", examples=["2026-11-28T07:00:00Z"])
    resident: list[str] = Field(description="The adapter versions in memory with it.", examples=[["pirate@3"]])
    warnings: list[str] = Field(
        description="What its owner should know of what was registered, once it is in memory.", examples=[[]]
    )


class ParameterAnswer(BaseModel):
    shape: list[int] = Field(description="As torch has it.", examples=[[576, 576]])
    dtype: str = Field(description="torch's name without `torch.`.", examples=["bfloat16"])


class ModuleAnswer(BaseModel):
    """A module that an adapter could target, and the methods that take it."""

    name: str = Field(
        description="As in `named_modules()`; a config's `target_modules` may name it.",
        examples=["model.layers.0.self_attn.q_proj"],
    )
    type: str = Field(description="Its class.", examples=["Linear"])
    parameters: dict[str, ParameterAnswer] = Field(
        description="Its own, by their short names.", examples=[{"weight": {"shape": [576, 576], "dtype": "bfloat16"}}]
    )
    methods: list[str] = Field(description="The `peft_type`s that take it.", examples=[["LORA", "ADALORA", "IA3"]])
    entered: bool | None = Field(
        description="Whether a small forward was seen to call it; null while none has run.", examples=[True]
    )


class ModulesAnswer(BaseModel):
    modules: list[ModuleAnswer] = Field(description="In `named_modules()` order.")


def _show_model(status: ModelStatus) -> ModelAnswer:
    base = status.base
    return ModelAnswer(
        id=base.id,
        state=status.state,
        reason=status.reason,
        source=_show_source(base.source),
        task=status.task,
        num_labels=base.num_labels,
        dtype=status.dtype,
        device=status.device,
        parameters=base.parameters,
        bytes=base.bytes,
        fingerprint=base.fingerprint and f"sha256:{base.fingerprint}",
        example_inputs=base.example_inputs,
        created_at=base.created_at,
        resident=list(status.resident),
        warnings=list(status.warnings),
    )


def _show_source(source: Source) -> HuggingFaceSourceBody | PythonSourceBody:
    if isinstance(source, HuggingFaceSource):
        return HuggingFaceSourceBody(kind=source.kind, path=source.path, file=source.file)
    return PythonSourceBody(kind=source.kind, factory=source.factory, kwargs=dict(source.kwargs))


def _show_modules(modules: ModelModules) -> ModulesAnswer:
    adaptable = [module for module in modules.architecture.modules if module.kind is not None]
    return ModulesAnswer(modules=[_show_module(module, modules.entered) for module in adaptable])


def _show_module(module: ModuleInfo, entered: frozenset[str] | None) -> ModuleAnswer:
    return ModuleAnswer(
        name=module.name,
        type=module.type,
        parameters={
            name: ParameterAnswer(shape=list(info.shape), dtype=info.dtype) for name, info in module.parameters.items()
        },
        methods=[name for name, method in METHODS.items() if module.kind in method.kinds],
        entered=None if entered is None else module.name in entered,
    )


async def _read_new_model(request: Request, settings: TheSettings) -> NewModelBody:
    media_type_of(request, JSON)
    return await read_json(NewModelBody, request, settings.max_json_bytes)


async def _register(
    engine: Engine, request: Request, body: NewModelBody, once: Once | None, wait: float
) -> ModelStatus:
    """Register it, or find what its key registered, and wait as `_when_loaded`."""
    until = monotonic() + wait
    while True:
        status = await run_in_threadpool(
            engine.models.register,
            body.id,
            body.source.source(),
            once=once,
            dtype=body.dtype,
            device=body.device,
            task=body.task,
            num_labels=body.num_labels,
            example_inputs=body.example_inputs,
        )
        if not wait:
            return status
        try:
            return await _when_loaded(engine, request, status, until)
        except NotFound:
            # It failed in another process, which withdrew it and freed the key. A removal uses the key up: `Conflict`.
            if once is None:
                raise


async def _when_loaded(engine: Engine, request: Request, status: ModelStatus, until: float) -> ModelStatus:
    """As it is once it is ready and its example was tried, or has failed, or it is `until` in `monotonic()` seconds, or
    the service is to end. Raises `NotFound` once it is gone."""
    drain, look = drain_of(request), engine.models.watch(status.base)
    # Asked for again and again: whoever waits in a thread keeps one of the few that serve everyone.
    while ((status := await run_in_threadpool(look)).state == "loading" or not status.is_probed) and not drain.begun:
        if monotonic() >= until:
            break
        await asyncio.sleep(POLL_S)
    return status if status.state == "failed" else await run_in_threadpool(engine.models.find, status.base.id)


def _unbuildable(status: ModelStatus, what_is_left: str) -> Invalid:
    error = status.error or Invalid(status.reason or "the log has the details")
    return Invalid(
        f"The base model {status.base.id!r} can't be built, and {what_is_left}: {error.detail}", error.faults
    )


# ---- routes -----------------------------------------------------------------------------------------------------

POLL_S = 0.05

Wait = Annotated[
    float,
    Query(
        ge=0,
        le=3600,
        allow_inf_nan=False,
        description="Seconds to wait until it is ready, or has failed.",
        examples=[60],
    ),
]
_STILL_LOADING: dict[int | str, dict[str, Any]] = {202: {"model": ModelAnswer, "description": "Loading"}}


@router.post(
    "/models",
    status_code=201,
    response_model=ModelAnswer,
    responses={**_STILL_LOADING, **documented(400, 409, 413, 415, 422, 507)},
    openapi_extra=reads({JSON: NewModelBody}),
)
async def register_model(
    body: Annotated[NewModelBody, Depends(_read_new_model)],
    engine: TheEngine,
    request: Request,
    response: Response,
    key: IdempotencyKey = None,
    wait: Wait = 0,
) -> ModelAnswer:
    """Register a base model and begin loading it: 201 once it is ready, 202 while it is loading. Where it fails while
    the caller waits, 422 says why, and nothing is registered; without `wait` it is listed as `failed`. A model of this
    id that failed and has no adapters gives its place. Asked again under the same key, it tells how far the model is
    by then."""
    once = await run_in_threadpool(asked_once, key, request, body) if key else None
    status = await _register(engine, request, body, once, wait)
    if wait and status.state == "failed":
        gone = await run_in_threadpool(engine.models.withdraw, status, once)
        raise _unbuildable(status, "nothing is registered" if gone else "it has adapters, so it stays registered")
    response.status_code = 201 if status.state == "ready" else 202
    response.headers["Location"] = f"/models/{body.id}"
    return _show_model(status)


@router.get("/models", responses=documented(400))
def list_models(engine: TheEngine, paging: PagingQuery) -> Page[ModelAnswer]:
    """Every registered base model, by id."""
    return paging.page(engine.models.page(paging.limit + 1, paging.after), lambda status: status.base.id, _show_model)


@router.get("/models/{model_id}", responses=documented(404))
def get_model(model_id: ModelId, engine: TheEngine) -> ModelAnswer:
    """One base model: its state, what it is, which adapters are in memory with it."""
    return _show_model(engine.models.find(model_id))


@router.get("/models/{model_id}/modules", responses=documented(404, 409))
def list_modules(model_id: ModelId, engine: TheEngine) -> ModulesAnswer:
    """Every module that an adapter could target; 409 until the model was built once."""
    return _show_modules(engine.models.modules(model_id))


@router.post("/models/{model_id}/load", responses={**_STILL_LOADING, **documented(404, 409, 422, 507)})
async def load_model(
    model_id: ModelId, engine: TheEngine, request: Request, response: Response, wait: Wait = 0
) -> ModelAnswer:
    """Into memory, also after a failure: 200 if it is there, 202 while it is loading, 422 with the reason where it
    fails while the caller waits."""
    status = await run_in_threadpool(engine.models.load, model_id)
    if wait:
        status = await _when_loaded(engine, request, status, monotonic() + wait)
        if status.state == "failed":
            raise _unbuildable(status, "it stays registered")
    response.status_code = 202 if status.state == "loading" else 200
    return _show_model(status)


@router.post("/models/{model_id}/unload", responses=documented(404, 409, 507))
def unload_model(model_id: ModelId, engine: TheEngine) -> ModelAnswer:
    """Out of memory, until it is loaded again; its registration and its adapters stay."""
    return _show_model(engine.models.unload(model_id))


@router.delete("/models/{model_id}", status_code=204, responses=documented(400, 404, 409, 507))
def remove_model(
    model_id: ModelId,
    engine: TheEngine,
    cascade: Annotated[bool, Query(description="Remove its adapters, too.", examples=[True])] = False,
) -> None:
    """Forget a base model; 409 while adapters refer to it, unless `cascade` removes them too."""
    engine.models.remove(model_id, cascade)
