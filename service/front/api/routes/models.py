"""Base models: registering one, what is known of it, in and out of memory."""

import asyncio
from time import monotonic
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from models_registry.errors import Invalid, NotFound
from models_registry.records import Once
from service.front.api.dependencies import ModelId, Reason, TheEngine, TheSettings, drain_of
from service.front.api.http.bodies import JSON, media_type_of, read_json, reads
from service.front.api.http.idempotency import IdempotencyKey, asked_once
from service.front.api.http.paging import Page, PagingQuery
from service.front.api.model_answers import (
    HostAnswer,
    ModelAnswer,
    ModelChangeBody,
    ModulesAnswer,
    NewModelBody,
    show_host,
    show_model,
    show_modules,
)
from service.front.api.problems import documented
from service.front.engine import Engine
from service.front.requests import ModelStatus

router = APIRouter(tags=["models"])


async def _read_new_model(request: Request, settings: TheSettings) -> NewModelBody:
    media_type_of(request, JSON)
    return await read_json(NewModelBody, request, settings.max_json_bytes)


async def _read_change(request: Request, settings: TheSettings) -> ModelChangeBody:
    media_type_of(request, JSON)
    return await read_json(ModelChangeBody, request, settings.max_json_bytes)


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
            teams=body.teams,
            resources=body.resources and body.resources.resources(),
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
    # Polled, because a caller who waited in a thread would occupy one of the few that serve all requests.
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
    return show_model(status)


@router.get("/models", responses=documented(400))
def list_models(engine: TheEngine, paging: PagingQuery) -> Page[ModelAnswer]:
    """Every registered base model, by id."""
    return paging.page(engine.models.page(paging.limit + 1, paging.after), lambda status: status.base.id, show_model)


@router.get("/models/{model_id}", responses=documented(404))
def get_model(model_id: ModelId, engine: TheEngine) -> ModelAnswer:
    """One base model: its state, what it is, which adapters are in memory with it."""
    return show_model(engine.models.find(model_id))


@router.patch(
    "/models/{model_id}",
    responses=documented(404, 413, 415, 422, 507),
    openapi_extra=reads({JSON: ModelChangeBody}),
    dependencies=[Reason],
)
def change_model(
    model_id: ModelId, body: Annotated[ModelChangeBody, Depends(_read_change)], engine: TheEngine
) -> ModelAnswer:
    """Say which teams may use a base model (for others it isn't there from now on, nor are their adapters of it), and
    how many replicas it has on several machines."""
    return show_model(engine.models.change(model_id, body.change()))


@router.get("/models/{model_id}/host", tags=["models"], responses=documented(404))
def get_host(model_id: ModelId, engine: TheEngine) -> HostAnswer:
    """The process that runs the model: its memory, its age, how often it died."""
    return show_host(model_id, engine.models.host(model_id))


@router.get("/models/{model_id}/modules", responses=documented(404, 409))
def list_modules(model_id: ModelId, engine: TheEngine) -> ModulesAnswer:
    """Every module that an adapter could target; 409 until the model was built once."""
    return show_modules(engine.models.modules(model_id))


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
    return show_model(status)


@router.post("/models/{model_id}/unload", responses=documented(404, 409, 507))
def unload_model(model_id: ModelId, engine: TheEngine) -> ModelAnswer:
    """Out of memory, until it is loaded again; its registration and its adapters stay."""
    return show_model(engine.models.unload(model_id))


@router.delete("/models/{model_id}", status_code=204, responses=documented(400, 404, 409, 507), dependencies=[Reason])
def remove_model(
    model_id: ModelId,
    engine: TheEngine,
    cascade: Annotated[bool, Query(description="Remove its adapters, too.", examples=[True])] = False,
) -> None:
    """Forget a base model; 409 while adapters refer to it, unless `cascade` removes them too."""
    engine.models.remove(model_id, cascade)
