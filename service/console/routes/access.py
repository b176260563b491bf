"""Keys and teams, for those who make them."""

from datetime import UTC, datetime, timedelta
from typing import cast, get_args

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from models_registry.authors import because
from models_registry.errors import Invalid
from models_registry.records import Fault, Role
from models_registry.teams import TeamLimits
from service.console.forms import Form, TheForm
from service.console.pages import page
from service.console.sessions import HERE
from service.front.access.caller import current_caller
from service.front.api.dependencies import TheKeys, TheTeams

router = APIRouter(include_in_schema=False)
ACCESS = f"{HERE}/access"
MOST_TEAMS, LONGEST_NAME = 200, 128
LIMITS = ("adapters", "stored_bytes", "requests_per_minute", "tokens_per_minute", "rows_in_flight")


@router.get(ACCESS)
def show_access(request: Request, keys: TheKeys, teams: TheTeams) -> Response:
    """The keys that the caller may revoke; for admins also the teams, with what they have and may have."""
    caller = current_caller()
    found = teams.list(MOST_TEAMS, None) if caller.may("admin") else ()
    return page(
        "access.html",
        request.scope,
        keys=keys.list(caller)[::-1],
        roles=[role for role in get_args(Role) if caller.may(role)],
        teams=[(team, teams.stored_use(team.name), teams.asked_use(team.name)) for team in found],
        limits=LIMITS,
        now=datetime.now(UTC),
    )


@router.post(f"{HERE}/keys")
def create_key_here(form: TheForm, request: Request, keys: TheKeys) -> Response:
    """The new key, shown this once."""
    expires_at = datetime.now(UTC) + timedelta(days=form.number("days")) if form.get("days") else None
    name = form.need("name")[:LONGEST_NAME]
    key, secret = keys.create(current_caller(), name, _role(form), form.get("team") or None, expires_at=expires_at)
    return page("new_key.html", request.scope, key=key, secret=secret)


@router.post(f"{HERE}/keys/{{id}}/revoke")
def revoke_key_here(id: str, form: TheForm, keys: TheKeys) -> Response:
    with because(form.get("reason") or None):
        keys.revoke(current_caller(), id)
    return RedirectResponse(ACCESS, 303)


@router.post(f"{HERE}/teams")
def create_team_here(form: TheForm, teams: TheTeams) -> Response:
    limits = {name: form.number(name) for name in LIMITS if form.get(name)}
    teams.add(form.need("name"), TeamLimits(**limits))
    return RedirectResponse(ACCESS, 303)


@router.post(f"{HERE}/teams/{{team}}/remove")
def remove_team_here(team: str, form: TheForm, teams: TheTeams) -> Response:
    with because(form.get("reason") or None):
        teams.remove(team)
    return RedirectResponse(ACCESS, 303)


def _role(form: Form) -> Role:
    role = form.need("role")
    if role in get_args(Role):
        return cast(Role, role)
    raise Invalid("There is no such role.", [Fault(("role",), f"is one of {', '.join(get_args(Role))}")])
