"""Bytes of stored versions, hour by hour, charged to the team that owns the adapter.

A version is charged from the moment of its creation to that of its removal. Hours are recorded once they have passed;
the present one follows from what is stored now. A removal first records what is not recorded yet of its versions.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, select
from sqlalchemy.orm import Session

from models_registry.references import team_of
from models_registry.storage.reading import is_of_team
from models_registry.storage.tables import AdapterRow, UsageMarkRow, VersionRow
from models_registry.storage.usage_rows import add, mark
from models_registry.usage_records import HOUR, UsageCounts, UsageGroup, hour_of

STORED: Final = "stored bytes"
"""The mark of the hour until which they are recorded."""
RECORDED: Final = select(UsageMarkRow.value).where(UsageMarkRow.name == STORED)
LOCKED: Final = RECORDED.with_for_update()
"""Lock the record until the end of the transaction; else the same hour could be counted twice."""
MOST_HOURS: Final = 24
"""Hours that are recorded in one transaction, after a time in which no process ran."""


def record(session: Session, now: datetime) -> bool:
    """The hours that have passed; whether all of them. What was stored before this was ever called isn't counted."""
    first, present = _unrecorded_since(session, now, LOCKED), hour_of(now)
    until = min(present, first + MOST_HOURS * HOUR)
    if mark(session, STORED, int(until.timestamp())):
        add(session, dict(_byte_hours(session, first, until)))
    return until == present


def record_removed(session: Session, chosen: ColumnElement[bool]) -> None:
    """Versions that are removed now, to be called before they are."""
    now = datetime.now(UTC)
    add(session, dict(_byte_hours(session, _unrecorded_since(session, now, LOCKED), now, chosen)))


def unrecorded(session: Session, team: str | None, now: datetime) -> dict[UsageGroup, UsageCounts]:
    """Until now, of what is stored."""
    chosen = () if team is None else (is_of_team(VersionRow.adapter, team),)
    return dict(_byte_hours(session, _unrecorded_since(session, now, RECORDED), now, *chosen))


def _unrecorded_since(session: Session, now: datetime, recorded: Select[int]) -> datetime:
    value = session.scalar(recorded)
    return hour_of(now) if value is None else datetime.fromtimestamp(value, UTC)


def _byte_hours(
    session: Session, first: datetime, until: datetime, *chosen: ColumnElement[Any]
) -> Iterator[tuple[UsageGroup, UsageCounts]]:
    """Of each chosen version, from the hour `first` on."""
    columns = select(
        VersionRow.adapter, VersionRow.version, VersionRow.bytes, VersionRow.created_at, AdapterRow.model
    ).join(AdapterRow, AdapterRow.name == VersionRow.adapter)
    for adapter, version, size, created_at, model in session.execute(columns.where(*chosen)):
        hour = max(first, hour_of(created_at))
        while hour < until:
            stored_s = (min(until, hour + HOUR) - max(hour, created_at)).total_seconds()
            group = UsageGroup(hour, team_of(adapter), "", model, adapter, version)
            yield group, UsageCounts(byte_hours=size * max(0.0, stored_s) / HOUR.total_seconds())
            hour += HOUR
