"""Adapters: creating and listing them, their versions, where they are. Their files are in states.py, their ways into
memory and out of it in loading.py, their end is in removals.py."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from models_registry.records import AdapterVersion
from models_registry.references import pick_version
from service.api.bodies import JSON, MULTIPART, reads
from service.api.dependencies import AdapterName, ModelId, PathVersion, TheEngine
from service.api.idempotency import IdempotencyKey, asked_once
from service.api.paging import Page, PagingQuery
from service.api.preconditions import IfMatch
from service.api.problems import documented
from service.api.uploads import (
    FreshAdapterBody,
    NewAdapterBody,
    NewVersionBody,
    UploadedAdapterBody,
    UploadedVersionBody,
)
from service.engine.request import AdapterStatus, CreatedAdapter, NewAdapter, Residency, VersionResidency

router = APIRouter(tags=["adapters"])

MOST_TARGETS_LISTED = 20
"""PEFT, too, writes patterns for more names than that."""


# ---- schemas ----------------------------------------------------------------------------------------------------


class _VersionFields(BaseModel):
    version: int
    reference: str = Field(description="What names exactly this version, as in `tone@3`.")
    method: str
    digest: str = Field(description="The sha256 of the stored state dict, as in `sha256:1f…`.")
    parameters: int
    bytes: int
    target_count: int = Field(description="How many modules of the base model it acts on.")
    target_modules: str | list[str] | None = Field(
        description="The config's own pattern for them; null where it has none, or lists more than 20 names."
    )


_Targets = Annotated[list[str], Field(description="The modules of the base model that it acts on.")]


class CreatedAnswer(_VersionFields):
    """The version that was created, or would be by this request without `dry_run`."""

    name: str
    model: str
    targets: _Targets
    warnings: list[str]
    unchanged: bool = Field(default=False, description="The newest version had these weights already; none was made.")


class VersionAnswer(_VersionFields):
    created_at: datetime
    created_by: str | None = Field(description="Null, for callers have no keys yet.")
    metadata: Mapping[str, Any]
    residency: Residency = Field(description="Stored as a blob, staged in memory, or resident in the model.")
    pinned: bool = Field(description="It is never evicted: loaded with `pin=true`.")
    in_flight: int = Field(description="The requests that are using it.")
    memory_bytes: int = Field(description="What it takes in memory now.")
    last_used_at: datetime | None = Field(description="By a request, since its base model was loaded.")
    load_s: float | None = Field(description="Seconds that it took the last time to be read, checked and prepared.")
    damaged: bool = Field(description="Its stored bytes were found to be wrong or gone; they are not served.")
    without_effect: bool = Field(description="Its last request entered no module on which it acts, and was refused.")


class WholeVersionAnswer(VersionAnswer):
    """One version with all its targets, and the aliases that point to it."""

    name: str
    model: str
    targets: _Targets
    aliases: list[str]


class VersionsAnswer(BaseModel):
    versions: list[VersionAnswer]


class AdapterAnswer(_VersionFields):
    """An adapter with the fields of its newest version, and all its versions in ascending order."""

    name: str
    model: str
    created_at: datetime
    residency: Residency
    in_flight: int = Field(description="The requests that are using it.")
    damaged: bool
    without_effect: bool
    aliases: dict[str, int]
    versions: list[VersionAnswer]


def _fields(version: AdapterVersion) -> dict[str, Any]:
    return {
        "version": version.version,
        "reference": version.reference,
        "method": version.method,
        "digest": f"sha256:{version.digest}",
        "parameters": version.parameters,
        "bytes": version.bytes,
        "target_count": len(version.targets),
        "target_modules": _pattern(version.config.get("target_modules")),
    }


def _pattern(targets: Any) -> str | list[str] | None:
    if isinstance(targets, str):
        return targets
    return list(targets) if targets and len(targets) <= MOST_TARGETS_LISTED else None


def _show_residency(where: VersionResidency) -> dict[str, Any]:
    return {
        "residency": where.tier,
        "pinned": where.pinned,
        "in_flight": where.in_flight,
        "memory_bytes": where.bytes,
        "last_used_at": where.last_used_at,
        "load_s": where.load_s,
    }


def show_created(created: CreatedAdapter) -> CreatedAnswer:
    version = created.version
    return CreatedAnswer(
        **_fields(version),
        name=version.adapter,
        model=version.model,
        targets=list(version.targets),
        warnings=list(created.warnings),
        unchanged=created.unchanged,
    )


def show_new_version(created: CreatedAdapter, response: Response) -> CreatedAnswer:
    """With the headers that lead to its state."""
    version = created.version
    response.headers["Location"] = f"/adapters/{version.adapter}/state?version={version.version}"
    response.headers["ETag"] = f'"{version.digest}"'
    return show_created(created)


def _show_version(version: AdapterVersion, status: AdapterStatus) -> dict[str, Any]:
    return {
        **_fields(version),
        "created_at": version.created_at,
        "created_by": version.created_by,
        "metadata": version.metadata,
        **_show_residency(status.residency[version.version]),
        "damaged": version.damaged,
        "without_effect": version.version in status.silent,
    }


def _show_versions(status: AdapterStatus) -> list[VersionAnswer]:
    return [VersionAnswer(**_show_version(version, status)) for version in status.adapter.versions]


def show_adapter(status: AdapterStatus) -> AdapterAnswer:
    adapter = status.adapter
    newest = adapter.versions[-1]
    return AdapterAnswer(
        **_fields(newest),
        name=adapter.name,
        model=adapter.model,
        created_at=adapter.created_at,
        residency=status.residency[newest.version].tier,
        in_flight=status.in_flight,
        damaged=newest.damaged,
        without_effect=newest.version in status.silent,
        aliases=dict(adapter.aliases),
        versions=_show_versions(status),
    )


# ---- routes -----------------------------------------------------------------------------------------------------


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
    key: IdempotencyKey = None,
) -> CreatedAnswer:
    """Inject a new adapter into a base model: version 1 of `name`, with its method's initial weights or given ones."""
    new = NewAdapter(
        model=model_id,
        name=body.name,
        config=body.config,
        weights=body.weights if isinstance(body, UploadedAdapterBody) else None,
        seed=body.seed if isinstance(body, FreshAdapterBody) else None,
        metadata=body.metadata,
        accept_unknown=body.accept_unknown,
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


@router.get("/adapters/{name}/versions", responses=documented(404))
def list_versions(name: AdapterName, engine: TheEngine) -> VersionsAnswer:
    """An adapter's history, in ascending order."""
    return VersionsAnswer(versions=_show_versions(engine.adapters.find(name)))


@router.get("/adapters/{name}/versions/{version}", responses=documented(404))
def get_version(name: AdapterName, version: PathVersion, engine: TheEngine) -> WholeVersionAnswer:
    """One version, with every module that it acts on."""
    status = engine.adapters.find(name)
    found = pick_version(status.adapter, f"{name}@{version}")
    return WholeVersionAnswer(
        **_show_version(found, status),
        name=found.adapter,
        model=found.model,
        targets=list(found.targets),
        aliases=sorted(alias for alias, number in status.adapter.aliases.items() if number == version),
    )


@router.post(
    "/adapters/{name}/versions",
    status_code=201,
    responses=documented(400, 404, 409, 412, 413, 415, 422, 507),
    openapi_extra=reads({MULTIPART: UploadedVersionBody}),
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
        accept_unknown=body.accept_unknown,
        if_match=if_match,
        once=asked_once(key, request, body),
    )
    return show_new_version(created, response)
