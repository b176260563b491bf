"""The log of what was changed: an event is written in the transaction of the change itself, and never changed.

Writers take turns (`registry.py` holds the generation's row for each), so that events are numbered in the order of the
commits: a reader who has seen one has missed none before it.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from models_registry.authors import current_author
from models_registry.records import ABOUT_ADAPTERS, Event
from models_registry.storage.reading import is_of_team
from models_registry.storage.tables import EventRow

SHA256 = "sha256:"
"""What stands before a digest. A subject that begins so is a blob: no team has this name."""


def log(session: Session, kind: str, subject: str, **detail: Any) -> None:
    now = datetime.now(UTC)
    session.add(EventRow(kind=kind, subject=subject, at=now, actor=current_author(), detail=detail))


def read_events(session: Session, limit: int, after: int, team: str | None) -> tuple[Event, ...]:
    """At most `limit`, in the order of the commits, those behind the event `after`; with a `team`, of its own adapters
    and of base models alone."""
    chosen = select(EventRow).where(EventRow.id > after).order_by(EventRow.id).limit(limit)
    if team is not None:
        own = or_(*(EventRow.kind.startswith(f"{kind}.") for kind in ABOUT_ADAPTERS)) & is_of_team(
            EventRow.subject, team
        )
        chosen = chosen.where(EventRow.kind.startswith("model.") | own)
    rows = session.scalars(chosen)
    return tuple(Event(row.id, row.kind, row.subject, row.at, row.actor, row.detail) for row in rows)
