"""Aliases: movable names for versions, so that a rollout, in full or in part, or the way back, is one step."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from models_registry.authors import because
from models_registry.errors import Invalid
from models_registry.records import Adapter, Fault, Rollout
from service.front.access.names import shown
from service.front.api.adapter_answers import RolloutAnswer, show_rollout
from service.front.api.dependencies import NAME_PATTERN, AdapterName, Reason, TheEngine, TheSettings
from service.front.api.http.bodies import JSON, has_body, may_read, media_type_of, read_json, reads
from service.front.api.http.paging import Page, PagingQuery
from service.front.api.http.preconditions import IfMatch
from service.front.api.problems import documented

router = APIRouter(tags=["adapters"])

NewAlias = Annotated[str, Path(description="As a name, but never all digits nor `latest`.", examples=["prod"])]
AliasName = Annotated[str, Path(pattern=NAME_PATTERN, description="An alias.", examples=["prod"])]


_Version = Annotated[int, Field(strict=True, ge=1, lt=2**31)]
_Number = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,9}$")]
_Share = Annotated[float, Field(strict=True, allow_inf_nan=False)]
USUAL_SHADOW_SHARE = 0.1


class AliasBody(BaseModel):
    """Either `version` or `versions`."""

    model_config = ConfigDict(extra="forbid")

    version: _Version | None = Field(
        default=None, description="The version to which the alias points from now on.", examples=[3]
    )
    versions: dict[_Number, _Share] | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        description="Or several, each with its share of the requests; the shares add up to 1.",
        examples=[{"3": 0.9, "4": 0.1}],
    )
    shadow: _Version | None = Field(
        default=None,
        description="A version on which some of the requests are run too, to compare the answers.",
        examples=[4],
    )
    shadow_share: _Share | None = Field(
        default=None, description="Their share; 0.1 where only `shadow` is given.", examples=[0.1]
    )
    reason: str | None = Field(
        default=None, max_length=1000, description="Why; it stands in the event.", examples=["better on dialogues"]
    )

    @property
    def target(self) -> int | Rollout:
        """Raises `Invalid` where fields are missing or don't go together."""
        faults: list[Fault] = []
        if (self.version is None) == (self.versions is None):
            faults.append(Fault(("version",), "Give either `version` or `versions`."))
        if self.shadow is None and self.shadow_share is not None:
            faults.append(Fault(("shadow_share",), "Give `shadow` too, the version of which it is the share."))
        if faults:
            raise Invalid("An alias can't be made of these fields.", faults)
        if self.version is not None and self.shadow is None:
            return self.version
        if self.version is not None:
            shares = {self.version: 1.0}
        else:
            shares = {int(number): share for number, share in (self.versions or {}).items()}
        if self.shadow is None:
            return Rollout(shares)
        return Rollout(shares, self.shadow, USUAL_SHADOW_SHARE if self.shadow_share is None else self.shadow_share)


class RollbackBody(BaseModel):
    """May be left out."""

    model_config = ConfigDict(extra="forbid")

    reason: str | None = Field(
        default=None, max_length=1000, description="Why; it stands in the event.", examples=["worse on long texts"]
    )


class AliasAnswer(RolloutAnswer):
    name: str = Field(description="The adapter's name.", examples=["pirate"])
    alias: str = Field(description="The alias.", examples=["prod"])
    version: int = Field(
        description="The version to which it points, of several the one with the greatest share.", examples=[3]
    )


def _show(adapter: Adapter, alias: str) -> AliasAnswer:
    version = adapter.aliases[alias]
    rollout = show_rollout(adapter.rollouts.get(alias, Rollout({version: 1.0})))
    return AliasAnswer(name=shown(adapter.name), alias=alias, version=version, **rollout.model_dump())


async def _read_alias(request: Request, settings: TheSettings) -> AliasBody:
    media_type_of(request, JSON)
    return await read_json(AliasBody, request, settings.max_json_bytes)


async def _read_rollback(request: Request, settings: TheSettings) -> RollbackBody:
    if not has_body(request):
        return RollbackBody()
    media_type_of(request, JSON)
    return await read_json(RollbackBody, request, settings.max_json_bytes)


@router.get("/adapters/{name}/aliases", responses=documented(400, 404))
def list_aliases(name: AdapterName, engine: TheEngine, paging: PagingQuery) -> Page[AliasAnswer]:
    """An adapter's aliases, by name."""
    adapter = engine.adapters.find(name).adapter
    found = [_show(adapter, alias) for alias in sorted(adapter.aliases) if paging.after is None or alias > paging.after]
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
    """Let `name@alias` be that version, or several by shares, in one step: each request is answered as before or by one
    of these."""
    with because(body.reason):
        return _show(engine.aliases.move(name, alias, body.target, if_match=if_match, reason=body.reason), alias)


@router.post(
    "/adapters/{name}/aliases/{alias}/rollback",
    responses=documented(400, 404, 409, 413, 415, 422, 507),
    openapi_extra=may_read({JSON: RollbackBody}),
)
def roll_back_alias(
    name: AdapterName, alias: AliasName, body: Annotated[RollbackBody, Depends(_read_rollback)], engine: TheEngine
) -> AliasAnswer:
    """Let `name@alias` be what it was before its last move, a version or shares, as an event of its own (`alias.moved`,
    whose `undoes` is the event of that move). Each further call undoes one more move. 409 where there is no earlier
    move."""
    with because(body.reason):
        return _show(engine.aliases.roll_back(name, alias, body.reason), alias)


@router.delete(
    "/adapters/{name}/aliases/{alias}", status_code=204, responses=documented(400, 404, 507), dependencies=[Reason]
)
def remove_alias(name: AdapterName, alias: AliasName, engine: TheEngine) -> None:
    """Forget an alias; the version to which it pointed stays."""
    engine.aliases.remove(name, alias)
