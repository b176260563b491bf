"""What was changed, by whom and why, the newest first; a move of an alias can be taken back from here."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from models_registry.event_records import EventFilter
from models_registry.references import team_of
from service.console.pages import page
from service.console.sessions import HERE
from service.front.access.caller import current_caller
from service.front.access.names import stored
from service.front.api.dependencies import WRITTEN_NAME, TheEngine
from service.front.api.routes.events import EventAnswer, show_event

router = APIRouter(include_in_schema=False)
A_PAGE = 50


@router.get(f"{HERE}/activity")
def show_activity(
    request: Request,
    engine: TheEngine,
    adapter: Annotated[str, Query(pattern=f"^({WRITTEN_NAME})?$")] = "",
    kind: Annotated[str, Query(pattern="^([a-z]+([.][a-z]+)?)?$")] = "",
    by: Annotated[str, Query(max_length=260)] = "",
    before: Annotated[int | None, Query(ge=1, lt=2**63)] = None,
) -> Response:
    chosen = EventFilter(adapter=stored(adapter) if adapter else None, kind=kind or None, by=by or None)
    events = [show_event(event) for event in engine.newest_events(A_PAGE, before, chosen)]
    return page(
        "activity.html",
        request.scope,
        events=events,
        undoable={event.id for event in events if _may_undo(event)},
        adapter=adapter,
        kind=kind,
        by=by,
        older=events[-1].id if len(events) == A_PAGE else None,
    )


def _may_undo(event: EventAnswer) -> bool:
    """Back to one version; a division into several is set by the API."""
    caller = current_caller()
    is_move = event.kind == "alias.moved" and isinstance(event.detail.get("from"), int)
    return is_move and caller.may("publisher") and caller.owns(team_of(stored(event.subject)))
