"""What the log of changes holds, and what may be asked of it. Every room may import it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from models_registry.authors import Author

ABOUT_ADAPTERS: Final = ("adapter", "version", "alias")
"""What the kinds of events about adapters begin with; their subjects are names and references."""
REFUSED: Final = "refused"
"""The kind of an attempt at a change that was refused; its subject is what was asked for."""


@dataclass(frozen=True, slots=True)
class Event:
    """One change, never changed itself: what happened to which `subject`, when, and by whom (a key's id or a token's
    subject, None for callers without keys). A later change has a greater `id`. `detail` depends on the `kind`.

    `key`, `address`, `request_id` and `reason` are of the request that made it; None where there was none, or it had
    none.
    """

    id: int
    kind: str
    subject: str
    at: datetime
    by: str | None
    detail: Mapping[str, Any]
    key: str | None = None
    address: str | None = None
    request_id: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """An attempt at a change that was refused: what was asked for (`DELETE /adapters/tone`), by whom, of which team if
    that is known, and with which HTTP status."""

    at: datetime
    author: Author
    team: str | None
    subject: str
    status: int


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events are meant: those that have all that isn't None.

    `seen_by` is the team that asks, None for all events; `models` are the base models that they may know of, None for
    all, and `hidden_models` those that they may not. `team` is whose the events are about. `adapter` is a name as the
    registry keeps it. `kind` is a whole kind or what stands before its point. `since` counts, `until` doesn't.
    """

    seen_by: str | None = None
    models: tuple[str, ...] | None = None
    hidden_models: tuple[str, ...] = ()
    team: str | None = None
    adapter: str | None = None
    kind: str | None = None
    by: str | None = None
    since: datetime | None = None
    until: datetime | None = None


ALL_EVENTS: Final = EventFilter()
