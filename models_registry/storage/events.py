"""The log of what was changed: an event is written in the transaction of the change itself, and never changed.

Writers come one after another (`registry.py` holds the generation's row for each), so that events are numbered in the
order of the commits: whoever has read up to one has missed none before it.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from models_registry.authors import current_author
from models_registry.records import Event
from models_registry.storage.tables import EventRow

SHA256 = "sha256:"
"""What stands before a digest. A subject that begins so is a blob: no team has this name."""


def log(session: Session, kind: str, subject: str, **detail: Any) -> None:
    now = datetime.now(UTC)
    session.add(EventRow(kind=kind, subject=subject, at=now, actor=current_author(), detail=detail))


def read_events(session: Session, limit: int, after: int) -> tuple[Event, ...]:
    """At most `limit`, in the order of the commits, those behind the event `after`."""
    rows = session.scalars(select(EventRow).where(EventRow.id > after).order_by(EventRow.id).limit(limit))
    return tuple(Event(row.id, row.kind, row.subject, row.at, row.actor, row.detail) for row in rows)
