"""Adapters: creating and listing them, their versions, where they are. Their files are in states.py, their ways into
memory and out of it in loading.py, their end is in removals.py."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from service.front.access.names import stored
from service.front.api.adapter_answers import (
    AdapterAnswer,
    CreatedAnswer,
    VersionsAnswer,
    WholeVersionAnswer,
    show_adapter,
    show_created,
    show_new_version,
    show_versions,
    show_whole_version,
)
from service.front.api.adapter_words import AdapterWordsBody, read_words
from service.front.api.dependencies import AdapterName, ModelId, PathVersion, Reason, TheEngine
from service.front.api.http.bodies import JSON, MULTIPART, reads
from service.front.api.http.client_disconnect import CallerLeft
from service.front.api.http.idempotency import IdempotencyKey, asked_once
from service.front.api.http.paging import Page, PagingQuery
from service.front.api.http.preconditions import IfMatch
from service.front.api.http.uploads import (
    FreshAdapterBody,
    NewAdapterBody,
    NewVersionBody,
    UploadedAdapterBody,
    UploadedVersionBody,
)
from service.front.api.problems import documented
from service.front.requests import Accepted, NewAdapter

router = APIRouter(tags=["adapters"])


@router.post(
    "/models/{model_id}/adapters",
    status_code=201,
    responses={
        200: {"model": CreatedAnswer, "description": "A dry run: what would be created"},
        **documented(400, 404, 409, 413, 415, 422, 507),
    },
    openapi_extra=reads({JSON: FreshAdapterBody, MULTIPART: UploadedAdapterBody}),
)
def create_adapter(
    model_id: ModelId,
    body: NewAdapterBody,
    engine: TheEngine,
    request: Request,
    response: Response,
    stopped: CallerLeft,
    key: IdempotencyKey = None,
) -> CreatedAnswer:
    """Inject a new adapter into a base model: version 1 of `name`, with its method's initial weights or given ones."""
    new = NewAdapter(
        model=model_id,
        name=stored(body.name),
        config=body.config,
        weights=body.weights if isinstance(body, UploadedAdapterBody) else None,
        seed=body.seed if isinstance(body, FreshAdapterBody) else None,
        metadata=body.metadata,
        accept=Accepted(body.accept_unknown, body.accept_unmatched),
        stopped=stopped,
    )
    if body.dry_run:
        response.status_code = 200
        return show_created(engine.adapters.check(new))
    created = engine.adapters.create(new, asked_once(key, request, body))
    response.headers["Location"] = f"/adapters/{body.name}"
    return show_created(created)


@router.get("/models/{model_id}/adapters", responses=documented(400, 404))
def list_adapters_of_model(model_id: ModelId, engine: TheEngine, paging: PagingQuery) -> Page[AdapterAnswer]:
    """The adapters of one base model, by name."""
    found = engine.adapters.page(paging.limit + 1, paging.after, model_id)
    return paging.page(found, lambda status: status.adapter.name, show_adapter)


@router.get("/adapters", responses=documented(400))
def list_adapters(engine: TheEngine, paging: PagingQuery) -> Page[AdapterAnswer]:
    """Every adapter, by name."""
    found = engine.adapters.page(paging.limit + 1, paging.after)
    return paging.page(found, lambda status: status.adapter.name, show_adapter)


@router.get("/adapters/{name}", responses=documented(404))
def get_adapter(name: AdapterName, engine: TheEngine) -> AdapterAnswer:
    """One adapter: its newest version, all its versions and aliases, where they are now."""
    return show_adapter(engine.adapters.find(name))


@router.patch(
    "/adapters/{name}", responses=documented(404, 413, 415, 422, 507), openapi_extra=reads({JSON: AdapterWordsBody})
)
def describe_adapter(
    name: AdapterName, body: Annotated[AdapterWordsBody, Depends(read_words)], engine: TheEngine
) -> AdapterAnswer:
    """Change what its team says of an adapter, and who sees it; what is left out stays as it is."""
    return show_adapter(engine.adapters.describe(name, body.words))


@router.get("/adapters/{name}/versions", responses=documented(404))
def list_versions(name: AdapterName, engine: TheEngine) -> VersionsAnswer:
    """An adapter's history, in ascending order."""
    return VersionsAnswer(versions=show_versions(engine.adapters.find(name)))


@router.get("/adapters/{name}/versions/{version}", responses=documented(404))
def get_version(name: AdapterName, version: PathVersion, engine: TheEngine) -> WholeVersionAnswer:
    """One version, with every module that it acts on."""
    return show_whole_version(engine.adapters.find(name), version)


@router.post(
    "/adapters/{name}/versions",
    status_code=201,
    responses=documented(400, 404, 409, 412, 413, 415, 422, 507),
    openapi_extra=reads({MULTIPART: UploadedVersionBody}),
    dependencies=[Reason],
)
def add_version(
    name: AdapterName,
    body: NewVersionBody,
    if_match: IfMatch,
    engine: TheEngine,
    request: Request,
    response: Response,
    key: IdempotencyKey = None,
) -> CreatedAnswer:
    """A new version with its own config: another rank, other targets, another method."""
    created = engine.adapters.add_version(
        name,
        config=body.config,
        weights=body.weights,
        metadata=body.metadata,
        accept=Accepted(body.accept_unknown, body.accept_unmatched),
        if_match=if_match,
        once=asked_once(key, request, body),
    )
    return show_new_version(created, response)
