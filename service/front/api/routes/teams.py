"""Teams: groups of callers who own adapters together, and what each may have."""

import math
from dataclasses import asdict
from datetime import datetime
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from models_registry.teams import Team
from service.front.access.caller import current_caller
from service.front.admission.team_meter import REQUESTS, TOKENS
from service.front.api.dependencies import NAME_PATTERN, Name, Reason, TheSettings, TheTeams
from service.front.api.http.bodies import JSON, media_type_of, read_json, reads
from service.front.api.http.paging import Page, PagingQuery
from service.front.api.problems import documented
from service.front.api.team_limits_body import TeamLimitsBody
from service.front.services.teams import Teams

router = APIRouter(tags=["teams"])

TeamName = Annotated[str, Path(pattern=NAME_PATTERN, description="A team's name.", examples=["fraud"])]


class NewTeamBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Name = Field(description="Of the team; adapters of others are `team:name`.", examples=["fraud"])
    limits: TeamLimitsBody = Field(
        default=TeamLimitsBody(), title="Limits", description="What it may have; by default no limits."
    )


class ChangedTeamBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    limits: TeamLimitsBody = Field(
        title="Limits", description="All its limits from now on: what isn't in here has none."
    )


class TeamUseAnswer(BaseModel):
    """What is in use of each limit."""

    adapters: int = Field(description="Adapters that it has.", examples=[12])
    stored_bytes: int = Field(
        description="Bytes of the distinct blobs that its adapters' versions name.", examples=[52_428_800]
    )
    resident_share: float = Field(
        description="Part of one model's memory for adapters that its own take, where that is the most.",
        examples=[0.03],
    )
    requests_per_minute: int | None = Field(
        description="Spent of the limit, which is refilled evenly; null: no limit.", examples=[17]
    )
    tokens_per_minute: int | None = Field(
        description="Spent of the limit, which is refilled evenly; null: no limit.",
        examples=[512],
    )
    rows_in_flight: int = Field(description="Rows that wait or run now.", examples=[8])
    sequences_in_flight: int = Field(description="Texts that wait or are written now.", examples=[2])


class TeamAnswer(BaseModel):
    name: str = Field(description="The team's name.", examples=["fraud"])
    created_at: datetime = Field(description="When it was made.", examples=["2026-11-28T07:00:00Z"])
    limits: TeamLimitsBody = Field(title="Limits", description="What it may have; null: no limit.")
    use: TeamUseAnswer = Field(title="Use", description="What of it is in use.")


async def _read_new(request: Request, settings: TheSettings) -> NewTeamBody:
    media_type_of(request, JSON)
    return await read_json(NewTeamBody, request, settings.max_json_bytes)


async def _read_change(request: Request, settings: TheSettings) -> ChangedTeamBody:
    media_type_of(request, JSON)
    return await read_json(ChangedTeamBody, request, settings.max_json_bytes)


@router.post(
    "/teams", status_code=201, responses=documented(409, 413, 415, 422, 507), openapi_extra=reads({JSON: NewTeamBody})
)
def create_team(body: Annotated[NewTeamBody, Depends(_read_new)], teams: TheTeams, response: Response) -> TeamAnswer:
    """A new team, which has nobody yet: make keys for it next."""
    team = teams.add(body.name, body.limits.as_limits())
    response.headers["Location"] = f"/teams/{team.name}"
    return _show(teams, team)


@router.get("/teams", responses=documented(400))
def list_teams(teams: TheTeams, paging: PagingQuery) -> Page[TeamAnswer]:
    """Every team, by name."""
    return paging.page(teams.list(paging.limit + 1, paging.after), lambda team: team.name, partial(_show, teams))


@router.get("/teams/{team}", responses=documented(404))
def get_team(team: TeamName, teams: TheTeams) -> TeamAnswer:
    """One team, its limits and what of them is in use: the caller's own, or any for an admin."""
    return _show(teams, teams.find(current_caller(), team))


@router.patch(
    "/teams/{team}", responses=documented(404, 413, 415, 422, 507), openapi_extra=reads({JSON: ChangedTeamBody})
)
def change_team(team: TeamName, body: Annotated[ChangedTeamBody, Depends(_read_change)], teams: TheTeams) -> TeamAnswer:
    """Replace all of a team's limits, here at once and in every other process within two seconds."""
    return _show(teams, teams.limit(team, body.limits.as_limits()))


@router.delete("/teams/{team}", status_code=204, responses=documented(404, 409, 507), dependencies=[Reason])
def remove_team(team: TeamName, teams: TheTeams) -> None:
    """Remove a team; 409 with everything that is in the way while it has adapters or valid keys, or base models are
    kept for it. What it used, and its events, stay; a team that is made under its name later has them too."""
    teams.remove(team)


def _show(teams: Teams, team: Team) -> TeamAnswer:
    stored, asked = teams.stored_use(team.name), teams.asked_use(team.name)
    spent = {rate.limit: math.ceil(rate.capacity - rate.left) for rate in asked.rates}
    return TeamAnswer(
        name=team.name,
        created_at=team.created_at,
        limits=TeamLimitsBody.model_validate(asdict(team.limits)),
        use=TeamUseAnswer(
            adapters=stored.adapters,
            stored_bytes=stored.bytes,
            resident_share=teams.resident_share(team.name),
            requests_per_minute=spent.get(REQUESTS),
            tokens_per_minute=spent.get(TOKENS),
            rows_in_flight=asked.rows,
            sequences_in_flight=asked.sequences,
        ),
    )
