"""Aliases: movable names for versions, so that a rollout, or the way back, is one step."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from service.api.bodies import JSON, media_type_of, read_json, reads
from service.api.dependencies import NAME_PATTERN, AdapterName, TheEngine, TheSettings
from service.api.problems import documented

router = APIRouter(tags=["adapters"])

NewAlias = Annotated[str, Path(description="As a name, but never all digits: `prod`.")]
AliasName = Annotated[str, Path(pattern=NAME_PATTERN, description="An alias, such as `prod`.")]


class AliasBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    version: int = Field(strict=True, ge=1, lt=2**31, description="The version to which the alias points from now on.")


class AliasAnswer(BaseModel):
    name: str
    alias: str
    version: int


async def _read_alias(request: Request, settings: TheSettings) -> AliasBody:
    media_type_of(request, JSON)
    return await read_json(AliasBody, request, settings.max_json_bytes)


@router.put(
    "/adapters/{name}/aliases/{alias}",
    responses=documented(400, 404, 413, 415, 422, 507),
    openapi_extra=reads({JSON: AliasBody}),
)
def move_alias(
    name: AdapterName, alias: NewAlias, body: Annotated[AliasBody, Depends(_read_alias)], engine: TheEngine
) -> AliasAnswer:
    """Let `name@alias` be that version, in one step: each request is answered by the one before or by this one."""
    version = engine.adapters.move_alias(name, alias, body.version)
    return AliasAnswer(name=name, alias=alias, version=version.version)


@router.delete("/adapters/{name}/aliases/{alias}", status_code=204, responses=documented(404, 507))
def remove_alias(name: AdapterName, alias: AliasName, engine: TheEngine) -> None:
    """Forget an alias; the version to which it pointed stays."""
    engine.adapters.remove_alias(name, alias)
