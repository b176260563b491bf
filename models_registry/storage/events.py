"""The log of what was changed: an event is written in the transaction of the change itself, and never changed.

Writers take turns (`registry.py` holds the generation's row for each), so that events are numbered in the order of the
commits: a reader who has seen one has missed none before it. Once it is
committed, each is also a line of the logger `audit`.
"""

import logging
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, event, or_, select
from sqlalchemy.orm import Session

from models_registry.authors import Author, current_author
from models_registry.event_records import ABOUT_ADAPTERS, Event, EventFilter
from models_registry.storage.reading import is_of_team
from models_registry.storage.tables import EventRow

SHA256 = "sha256:"
"""What stands before a digest. A subject that begins so is a blob: no team has this name."""
_UNSAID = "events that are no lines yet"

audit = logging.getLogger("audit")


def log(session: Session, kind: str, subject: str, of_team: str | None = None, /, **detail: Any) -> None:
    """`of_team` is whose it is, where the subject doesn't say so."""
    log_as(
        session, current_author(), datetime.now(UTC), EventRow(kind=kind, subject=subject, team=of_team, detail=detail)
    )


def log_as(session: Session, author: Author, at: datetime, row: EventRow) -> None:
    """`row` has what happened; who did it and when is added."""
    row.at, row.actor, row.key = at, author.by, author.key
    row.address, row.request_id, row.reason = author.address, author.request_id, author.reason
    session.add(row)
    if _UNSAID not in session.info:
        session.info[_UNSAID] = []
        event.listen(session, "before_commit", _number)
        event.listen(session, "after_commit", _say)
    session.info[_UNSAID].append(row)


def read_events(session: Session, limit: int, after: int, chosen: EventFilter) -> tuple[Event, ...]:
    """At most `limit` of the chosen ones, in the order of the commits, those behind the event `after`."""
    page = select(EventRow).where(EventRow.id > after, *_conditions(chosen)).order_by(EventRow.id).limit(limit)
    return tuple(_record(row) for row in session.scalars(page))


def read_newest_events(session: Session, limit: int, before: int | None, chosen: EventFilter) -> tuple[Event, ...]:
    """At most `limit` of the chosen ones, the newest first, those made before the event `before`."""
    page = select(EventRow).where(*_conditions(chosen)).order_by(EventRow.id.desc()).limit(limit)
    return tuple(_record(row) for row in session.scalars(page if before is None else page.where(EventRow.id < before)))


def _conditions(chosen: EventFilter) -> Iterator[ColumnElement[bool]]:
    about_adapters = or_(*(EventRow.kind.startswith(f"{kind}.") for kind in ABOUT_ADAPTERS))
    if chosen.seen_by is not None:
        yield EventRow.kind.startswith("model.") | (about_adapters & is_of_team(EventRow.subject, chosen.seen_by))
    about_models = EventRow.kind.startswith("model.")
    if chosen.models is not None:
        yield ~about_models | EventRow.subject.in_(chosen.models)
    if chosen.hidden_models:
        yield ~about_models | EventRow.subject.not_in(chosen.hidden_models)
    if chosen.team is not None:
        yield (EventRow.team == chosen.team) | (about_adapters & is_of_team(EventRow.subject, chosen.team))
    if chosen.adapter is not None:
        named = (EventRow.subject == chosen.adapter) | EventRow.subject.startswith(
            f"{chosen.adapter}@", autoescape=True
        )
        yield about_adapters & named
    if chosen.kind is not None:
        yield (EventRow.kind == chosen.kind) | EventRow.kind.startswith(f"{chosen.kind}.", autoescape=True)
    if chosen.by is not None:
        yield EventRow.actor == chosen.by
    if chosen.since is not None:
        yield EventRow.at >= chosen.since
    if chosen.until is not None:
        yield EventRow.at < chosen.until


def _record(row: EventRow) -> Event:
    return Event(
        row.id, row.kind, row.subject, row.at, row.actor, row.detail, row.key, row.address, row.request_id, row.reason
    )


def _number(session: Session) -> None:
    """Give the new events their numbers, while their rows can still be read."""
    session.flush()
    session.info[_UNSAID] = [_record(row) for row in session.info[_UNSAID]]


def _say(session: Session) -> None:
    for said in session.info[_UNSAID]:
        fields = {"event": said.id, **{name: value for name, value in asdict(said).items() if name != "id"}}
        audit.info("%s %s", said.kind, said.subject, extra={"fields": fields})
    session.info[_UNSAID] = []
