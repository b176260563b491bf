"""Teams: groups of callers who own adapters together."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from models_registry.records import Team
from service.front.access.caller import current_caller
from service.front.api.dependencies import NAME_PATTERN, Name, TheKeys, TheSettings
from service.front.api.http.bodies import JSON, media_type_of, read_json, reads
from service.front.api.http.paging import Page, PagingQuery
from service.front.api.problems import documented

router = APIRouter(tags=["teams"])

TeamName = Annotated[str, Path(pattern=NAME_PATTERN, description="A team's name.", examples=["fraud"])]


class NewTeamBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Name = Field(description="Of the team; adapters of others are `team:name`.", examples=["fraud"])


class TeamAnswer(BaseModel):
    name: str = Field(description="The team's name.", examples=["fraud"])
    created_at: datetime = Field(description="When it was made.", examples=["2026-11-28T07:00:00Z"])


async def _read_team(request: Request, settings: TheSettings) -> NewTeamBody:
    media_type_of(request, JSON)
    return await read_json(NewTeamBody, request, settings.max_json_bytes)


@router.post(
    "/teams", status_code=201, responses=documented(409, 413, 415, 422, 507), openapi_extra=reads({JSON: NewTeamBody})
)
def create_team(body: Annotated[NewTeamBody, Depends(_read_team)], keys: TheKeys, response: Response) -> TeamAnswer:
    """A new team, which has nobody yet: make keys for it next."""
    team = keys.add_team(body.name)
    response.headers["Location"] = f"/teams/{team.name}"
    return _show(team)


@router.get("/teams", responses=documented(400))
def list_teams(keys: TheKeys, paging: PagingQuery) -> Page[TeamAnswer]:
    """Every team, by name."""
    return paging.page(keys.list_teams(paging.limit + 1, paging.after), lambda team: team.name, _show)


@router.get("/teams/{team}", responses=documented(404))
def get_team(team: TeamName, keys: TheKeys) -> TeamAnswer:
    """One team: the caller's own, or any for an admin."""
    return _show(keys.find_team(current_caller(), team))


def _show(team: Team) -> TeamAnswer:
    return TeamAnswer(name=team.name, created_at=team.created_at)
