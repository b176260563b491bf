"""Aliases: movable names for versions, so that a rollout, or the way back, is one step."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from service.front.access.names import shown
from service.front.api.dependencies import NAME_PATTERN, AdapterName, TheEngine, TheSettings
from service.front.api.http.bodies import JSON, media_type_of, read_json, reads
from service.front.api.http.paging import Page, PagingQuery
from service.front.api.http.preconditions import IfMatch
from service.front.api.problems import documented

router = APIRouter(tags=["adapters"])

NewAlias = Annotated[str, Path(description="As a name, but never all digits nor `latest`.", examples=["prod"])]
AliasName = Annotated[str, Path(pattern=NAME_PATTERN, description="An alias.", examples=["prod"])]


class AliasBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    version: int = Field(
        strict=True,
        ge=1,
        lt=2**31,
        description="The version to which the alias points from now on.",
        examples=[3],
    )
    reason: str | None = Field(
        default=None, max_length=1000, description="Why; it stands in the event.", examples=["better on dialogues"]
    )


class AliasAnswer(BaseModel):
    name: str = Field(description="The adapter's name.", examples=["pirate"])
    alias: str = Field(description="The alias.", examples=["prod"])
    version: int = Field(description="The version to which it points.", examples=[3])


async def _read_alias(request: Request, settings: TheSettings) -> AliasBody:
    media_type_of(request, JSON)
    return await read_json(AliasBody, request, settings.max_json_bytes)


@router.get("/adapters/{name}/aliases", responses=documented(400, 404))
def list_aliases(name: AdapterName, engine: TheEngine, paging: PagingQuery) -> Page[AliasAnswer]:
    """An adapter's aliases, by name."""
    adapter = engine.adapters.find(name).adapter
    found = [
        AliasAnswer(name=shown(adapter.name), alias=alias, version=version)
        for alias, version in sorted(adapter.aliases.items())
        if paging.after is None or alias > paging.after
    ]
    return paging.page(found, lambda answer: answer.alias, lambda answer: answer)


@router.put(
    "/adapters/{name}/aliases/{alias}",
    responses=documented(400, 404, 412, 413, 415, 422, 507),
    openapi_extra=reads({JSON: AliasBody}),
)
def move_alias(
    name: AdapterName,
    alias: NewAlias,
    if_match: IfMatch,
    body: Annotated[AliasBody, Depends(_read_alias)],
    engine: TheEngine,
) -> AliasAnswer:
    """Let `name@alias` be that version, in one step: each request is answered by the one before or by this one."""
    version = engine.adapters.move_alias(name, alias, body.version, if_match=if_match, reason=body.reason)
    return AliasAnswer(name=shown(name), alias=alias, version=version.version)


@router.delete("/adapters/{name}/aliases/{alias}", status_code=204, responses=documented(404, 507))
def remove_alias(name: AdapterName, alias: AliasName, engine: TheEngine) -> None:
    """Forget an alias; the version to which it pointed stays."""
    engine.adapters.remove_alias(name, alias)
