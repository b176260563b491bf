"""The log of every change to models, adapters, versions and aliases."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from models_registry.records import ABOUT_ADAPTERS, Event
from service.front.access.names import shown
from service.front.api.dependencies import TheEngine
from service.front.api.problems import documented

router = APIRouter(tags=["events"])


class EventAnswer(BaseModel):
    id: int = Field(description="Greater than that of every earlier event; numbers may be left out.", examples=[12])
    kind: str = Field(description="As in `alias.moved`.", examples=["version.added"])
    subject: str = Field(description="A base model, an adapter, a version, an alias or a blob.", examples=["tone@3"])
    at: datetime = Field(description="When it was made.", examples=["2026-11-28T07:00:00Z"])
    by: str | None = Field(
        description="The id of the key that made it; null: none, or the service itself.", examples=["k5x2m7qa"]
    )
    detail: dict[str, Any] = Field(description="What else there is to say, by kind.", examples=[{"from": 2, "to": 3}])


class EventsAnswer(BaseModel):
    """Changes in the order in which they were made."""

    items: list[EventAnswer] = Field(description="The oldest first.")
    next_after: int = Field(
        description="Pass it as `after` for what comes next, also later: nothing comes before it.", examples=[12]
    )


@router.get("/events", responses=documented(400))
def list_events(
    engine: TheEngine,
    after: Annotated[
        int, Query(ge=0, lt=2**63, description="The last event that the caller has seen.", examples=[12])
    ] = 0,
    limit: Annotated[int, Query(ge=1, le=1000, description="At most so many.", examples=[100])] = 100,
) -> EventsAnswer:
    """What was changed, when, and by whom: base models and the adapters of the caller's team, everything for an admin.
    An empty page means that nothing was since."""
    events = engine.events(limit, after)
    return EventsAnswer(items=[_show(event) for event in events], next_after=events[-1].id if events else after)


def _subject(event: Event) -> str:
    return shown(event.subject) if event.kind.partition(".")[0] in ABOUT_ADAPTERS else event.subject


def _show(event: Event) -> EventAnswer:
    return EventAnswer(
        id=event.id, kind=event.kind, subject=_subject(event), at=event.at, by=event.by, detail=dict(event.detail)
    )
