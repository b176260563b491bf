"""Adapters: creating and listing them, their versions, where they are. Their files are in states.py, their ways into
memory and out of it in loading.py, their end is in removals.py."""

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from models_registry.label_selectors import is_selected
from service.front.access.names import stored_own
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
from service.front.api.adapter_query import AdapterListQuery, AdapterPage, read_labels, show_page
from service.front.api.adapter_words import AdapterWordsBody, VersionWordsBody, read_version_words, read_words
from service.front.api.dependencies import NAME_PATTERN, AdapterName, ModelId, PathVersion, Reason, TheEngine
from service.front.api.http.bodies import JSON, MULTIPART, reads
from service.front.api.http.client_disconnect import CallerLeft
from service.front.api.http.idempotency import IdempotencyKey, asked_once
from service.front.api.http.preconditions import IfMatch
from service.front.api.http.uploads import (
    FreshAdapterBody,
    NewAdapterBody,
    NewVersionBody,
    UploadedAdapterBody,
    UploadedVersionBody,
)
from service.front.api.problems import documented
from service.front.requests import Accepted, NewAdapter, NewVersion

router = APIRouter(tags=["adapters"])


@router.post(
    "/models/{model_id}/adapters",
    status_code=201,
    responses={
        200: {"model": CreatedAnswer, "description": "A dry run: what would be created"},
        **documented(400, 404, 409, 413, 415, 422, 507),
    },
    openapi_extra=reads({JSON: FreshAdapterBody, MULTIPART: UploadedAdapterBody}),
    dependencies=[Reason],
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
        name=stored_own(body.name),
        config=body.config,
        weights=body.weights if isinstance(body, UploadedAdapterBody) else None,
        seed=body.seed if isinstance(body, FreshAdapterBody) else None,
        metadata=body.metadata,
        labels=body.labels,
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
def list_adapters_of_model(model_id: ModelId, engine: TheEngine, asked: AdapterListQuery) -> AdapterPage:
    """The adapters of one base model that are what is asked for."""
    search = replace(asked.search, model=model_id)
    return show_page(engine.adapter_lists.page(asked.limit, search, asked.after, asked.count))


@router.get("/adapters", responses=documented(400, 404))
def list_adapters(
    engine: TheEngine,
    asked: AdapterListQuery,
    model: Annotated[
        str | None, Query(pattern=NAME_PATTERN, description="Those of one base model.", examples=["smollm2"])
    ] = None,
) -> AdapterPage:
    """Every adapter that is what is asked for."""
    search = replace(asked.search, model=model)
    return show_page(engine.adapter_lists.page(asked.limit, search, asked.after, asked.count))


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


@router.get("/adapters/{name}/versions", responses=documented(400, 404))
def list_versions(
    name: AdapterName,
    engine: TheEngine,
    labels: Annotated[
        str | None,
        Query(max_length=8000, description="A selector, as in lists of adapters.", examples=["stage=prod"]),
    ] = None,
) -> VersionsAnswer:
    """An adapter's history, in ascending order."""
    selector = () if labels is None else read_labels(labels)
    versions = show_versions(engine.adapters.find(name))
    return VersionsAnswer(versions=[one for one in versions if is_selected(one.labels, selector)])


@router.get("/adapters/{name}/versions/{version}", responses=documented(404))
def get_version(name: AdapterName, version: PathVersion, engine: TheEngine) -> WholeVersionAnswer:
    """One version, with every module that it acts on."""
    return show_whole_version(engine.adapters.find(name), version)


@router.patch(
    "/adapters/{name}/versions/{version}",
    responses=documented(404, 413, 415, 422, 507),
    openapi_extra=reads({JSON: VersionWordsBody}),
)
def describe_version(
    name: AdapterName,
    version: PathVersion,
    body: Annotated[VersionWordsBody, Depends(read_version_words)],
    engine: TheEngine,
) -> WholeVersionAnswer:
    """Change the labels of a version, the only thing that may change."""
    return show_whole_version(engine.adapters.label_version(name, version, body.labels), version)


@router.post(
    "/adapters/{name}/versions",
    status_code=201,
    responses={
        200: {
            "model": CreatedAnswer,
            "description": "What would be stored without `dry_run`, or the newest version where it is the same",
        },
        **documented(400, 404, 409, 412, 413, 415, 422, 507),
    },
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
    accept = Accepted(body.accept_unknown, body.accept_unmatched)
    new = NewVersion(body.weights, body.config, body.metadata, body.labels, accept)
    if body.dry_run:
        response.status_code = 200
        force = not body.if_changed
        return show_created(engine.adapters.check_version(name, new, if_match=if_match, force=force))
    add = engine.adapters.add_if_changed if body.if_changed else engine.adapters.add_version
    created = add(name, new, if_match=if_match, once=asked_once(key, request, body))
    response.status_code = 200 if created.unchanged else 201
    return show_new_version(created, response)
