"""Moving an alias: first what would change, then the move, with a reason."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import RedirectResponse, Response

from models_registry.authors import because
from models_registry.references import pick_version
from service.console.forms import TheForm
from service.console.pages import in_path, page
from service.console.sessions import HERE
from service.front.access.names import shown
from service.front.api.dependencies import AdapterName, TheEngine

router = APIRouter(include_in_schema=False)
NewAlias = Annotated[str, Query(max_length=128)]
LONGEST_REASON = 1000


@router.get(f"{HERE}/adapters/{{name}}/move")
def confirm_move(
    request: Request,
    name: AdapterName,
    engine: TheEngine,
    version: Annotated[int, Query(ge=1, lt=2**31)],
    alias: NewAlias = "prod",
    reason: Annotated[str, Query(max_length=LONGEST_REASON)] = "",
) -> Response:
    """What the alias names now, and what it would name."""
    adapter = engine.adapters.find(name).adapter
    now = adapter.aliases.get(alias)
    return page(
        "move.html",
        request.scope,
        name=shown(name),
        alias=alias,
        now=None if now is None else pick_version(adapter, f"{name}@{now}"),
        is_split=alias in adapter.rollouts,
        then=pick_version(adapter, f"{name}@{version}"),
        reason=reason,
    )


@router.post(f"{HERE}/adapters/{{name}}/aliases/{{alias}}")
def move_alias_here(
    name: AdapterName, alias: Annotated[str, Path(max_length=128)], form: TheForm, engine: TheEngine
) -> Response:
    reason = form.get("reason")[:LONGEST_REASON] or None
    with because(reason):
        engine.aliases.move(name, alias, form.number("version"), reason=reason)
    return RedirectResponse(f"{HERE}/adapters/{in_path(shown(name))}", 303)
