"""The calls about the service's log of changes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from service.client.calls import Call, nothing, path
from service.client.records import Raw


@dataclass(frozen=True, slots=True)
class Event:
    """One change: what happened (`alias.moved`) to which subject (`tone@prod`), when (ISO 8601), and by whom."""

    id: int
    kind: str
    subject: str
    at: str
    by: str | None
    detail: Mapping[str, Any]
    raw: Raw

    @classmethod
    def read(cls, raw: Raw) -> Self:
        return cls(raw["id"], raw["kind"], raw["subject"], raw["at"], raw.get("by"), raw.get("detail") or {}, raw)


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events in the order in which they were made. `next_after` asks for the events after these."""

    items: tuple[Event, ...]
    next_after: int


_SILENT_S = 60.0
"""The service says something at least every 15 seconds."""


def follow_events(after: int, filters: Mapping[str, str | int]) -> Call[None]:
    """Its answer is a stream of events, each with an `Event`."""
    params = {"after": after, "follow": "true", **filters}
    return Call("GET", path("events"), nothing, params=params, timeout_s=_SILENT_S)


def list_events(after: int, filters: Mapping[str, str | int]) -> Call[EventPage]:
    def read(answer: Any) -> EventPage:
        body = answer.json()
        return EventPage(tuple(map(Event.read, body["items"])), body["next_after"])

    return Call("GET", path("events"), read, params={"after": after, **filters})
