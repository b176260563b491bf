"""The log of every change to models, adapters, versions and aliases."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request
from pydantic import AwareDatetime, BaseModel, Field

from models_registry.event_records import ABOUT_ADAPTERS, Event, EventFilter
from service.front.access.caller import current_caller
from service.front.access.names import shown, stored
from service.front.api.dependencies import NAME_PATTERN, WRITTEN_NAME, TheDrain, TheEngine
from service.front.api.event_follower import NumberedEvent, follow_events
from service.front.api.http.event_stream import EVENTS, EventStream
from service.front.api.metrics.metrics import FOLLOWS
from service.front.api.problems import documented

router = APIRouter(tags=["events"])


class EventAnswer(NumberedEvent):
    id: int = Field(description="Greater than that of every earlier event; numbers may be left out.", examples=[12])
    kind: str = Field(description="As in `alias.moved`; `refused` is an attempt.", examples=["version.added"])
    subject: str = Field(description="A base model, an adapter, a version, an alias or a blob.", examples=["tone@3"])
    at: datetime = Field(description="When it was made.", examples=["2026-11-28T07:00:00Z"])
    by: str | None = Field(
        description="Who made it: a key's id, or `oidc:` and a token's subject; null: a caller without a key, or the "
        "service itself.",
        examples=["k5x2m7qa"],
    )
    key: str | None = Field(description="The id of the key that was sent, if one was.", examples=["k5x2m7qa"])
    address: str | None = Field(description="From where; for admins and its own team.", examples=["10.0.0.7"])
    request_id: str | None = Field(
        description="The X-Request-ID of the request that made it; for admins and its own team.",
        examples=["5f0c6f2e8c4b4f0f9a5a3d1d8b1f7a10"],
    )
    reason: str | None = Field(description="What the caller said why.", examples=["better on dialogues"])
    detail: dict[str, Any] = Field(description="What else there is to say, by kind.", examples=[{"from": 2, "to": 3}])


class EventsAnswer(BaseModel):
    """Changes in the order in which they were made."""

    items: list[EventAnswer] = Field(description="The oldest first.")
    next_after: int = Field(
        description="Pass it as `after`, now or later, for the events after these; no event is ever added before it.",
        examples=[12],
    )


async def _filter(
    team: Annotated[
        str | None, Query(pattern=NAME_PATTERN, description="Only what is this team's.", examples=["fraud"])
    ] = None,
    adapter: Annotated[
        str | None,
        Query(
            pattern=f"^{WRITTEN_NAME}$", description="Only this adapter, its versions and aliases.", examples=["tone"]
        ),
    ] = None,
    kind: Annotated[
        str | None,
        Query(
            pattern="^[a-z]+([.][a-z]+)?$",
            description="Only this kind, or all that begin with it and a point.",
            examples=["alias"],
        ),
    ] = None,
    by: Annotated[
        str | None, Query(min_length=1, max_length=260, description="Only what they made.", examples=["k5x2m7qa"])
    ] = None,
    since: Annotated[
        AwareDatetime | None, Query(alias="from", description="Not before.", examples=["2026-11-28T07:00:00Z"])
    ] = None,
    until: Annotated[
        AwareDatetime | None, Query(alias="to", description="Only before.", examples=["2026-11-29T07:00:00Z"])
    ] = None,
) -> EventFilter:
    return EventFilter(
        team=team, adapter=None if adapter is None else stored(adapter), kind=kind, by=by, since=since, until=until
    )


async def _seen(
    after: Annotated[
        int, Query(ge=0, lt=2**63, description="The last event that the caller has seen.", examples=[12])
    ] = 0,
    last_event_id: Annotated[
        int | None, Header(ge=0, lt=2**63, description="Goes before `after`, if it is sent.", examples=[12])
    ] = None,
) -> int:
    return after if last_event_id is None else last_event_id


@router.get(
    "/events",
    response_model=EventsAnswer,
    responses={
        200: {
            "description": "A page; with `follow`, events `change` without end, each with an event's id and the event.",
            "content": {EVENTS: {"schema": {"type": "string"}}},
        },
        **documented(400),
    },
)
def list_events(
    request: Request,
    engine: TheEngine,
    drain: TheDrain,
    chosen: Annotated[EventFilter, Depends(_filter)],
    after: Annotated[int, Depends(_seen)],
    limit: Annotated[int, Query(ge=1, le=1000, description="At most so many.", examples=[100])] = 100,
    follow: Annotated[
        bool,
        Query(
            description="Answer with server-sent events: those behind `after`, then every change as it is made. Ends "
            "after a quarter of an hour, or with the service; go on with `Last-Event-ID`.",
            examples=[True],
        ),
    ] = False,
) -> EventsAnswer | EventStream:
    """What was changed, when, and by whom: base models and the adapters of the caller's team, everything for an admin.
    An empty page means that nothing was since."""

    def read(after: int) -> list[EventAnswer]:
        return [show_event(event) for event in engine.events(limit, after, chosen)]

    if follow:
        request.scope[FOLLOWS] = True
        return EventStream(follow_events(engine, drain, read, after))
    events = read(after)
    return EventsAnswer(items=events, next_after=events[-1].id if events else after)


def show_event(event: Event) -> EventAnswer:
    is_own = event.kind.partition(".")[0] in ABOUT_ADAPTERS
    told = is_own or current_caller().may("admin")
    return EventAnswer(
        id=event.id,
        kind=event.kind,
        subject=shown(event.subject) if is_own else event.subject,
        at=event.at,
        by=event.by,
        key=event.key,
        address=event.address if told else None,
        request_id=event.request_id if told else None,
        reason=event.reason,
        detail=dict(event.detail),
    )
