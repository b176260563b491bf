"""Rows of what was used: added to, summed up, removed. `usage.py` alone calls this, inside its transactions.

A writer first marks its progress and then locks the groups in an order that is the same for all, so that two writers
wait for each other but never in a circle.
"""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from models_registry.storage.tables import Row, UsageMarkRow, UsageRow
from models_registry.usage_records import COUNTS, HOUR, Sums, UsageCounts, UsageGroup, UsageQuestion

GROUP: Final = ("hour", "team", "key", "model", "adapter", "version")


def mark(session: Session, name: str, value: int) -> bool:
    """Whether `value` is higher than the mark, which it replaces then. Waits for a transaction that has the mark."""
    insert = _insert(session, UsageMarkRow).values(name=name, value=value, at=datetime.now(UTC))
    further = insert.on_conflict_do_update(
        index_elements=["name"],
        set_={"value": insert.excluded.value, "at": insert.excluded.at},
        where=UsageMarkRow.value < insert.excluded.value,
    )
    return session.scalar(further.returning(UsageMarkRow.value)) is not None


def marked(session: Session, name: str) -> int:
    return session.scalar(select(UsageMarkRow.value).where(UsageMarkRow.name == name)) or 0


def add(session: Session, counts: Mapping[UsageGroup, UsageCounts]) -> None:
    insert = _insert(session, UsageRow)
    sums: dict[str, Any] = {name: _column(name) + insert.excluded[name] for name in COUNTS}
    in_order = sorted(counts.items(), key=lambda entry: entry[0].at(GROUP))
    if in_order:
        more = insert.on_conflict_do_update(index_elements=list(GROUP), set_=sums)
        session.execute(more, [asdict(group) | asdict(own) for group, own in in_order])


def read(session: Session, question: UsageQuestion) -> Sums:
    by = [_column(part) for part in question.by]
    chosen = select(*by, *(func.sum(_column(name)) for name in COUNTS)).group_by(*by)
    if question.since is not None:
        chosen = chosen.where(UsageRow.hour > question.since - HOUR)
    if question.until is not None:
        chosen = chosen.where(UsageRow.hour < question.until)
    if question.team is not None:
        chosen = chosen.where(UsageRow.team == question.team)
    if question.key is not None:
        chosen = chosen.where(UsageRow.key == question.key)
    return {
        tuple(row[: len(by)]): _counts(dict(zip(COUNTS, row[len(by) :], strict=True)))
        for row in session.execute(chosen)
    }


def forget(session: Session, before: datetime) -> None:
    session.execute(delete(UsageRow).where(UsageRow.hour < before))
    session.execute(delete(UsageMarkRow).where(UsageMarkRow.at < before))


def _counts(sums: Mapping[str, Any]) -> UsageCounts:
    """Postgres sums integers up as decimals."""
    numbers: dict[str, Any] = {
        name: float(value or 0) if name in ("forward_s", "byte_hours") else int(value or 0)
        for name, value in sums.items()
    }
    return UsageCounts(**numbers)


def _column(name: str) -> ColumnElement[Any]:
    return UsageRow.__table__.c[name]


def _insert(session: Session, table: type[Row]) -> postgresql.Insert | sqlite.Insert:
    """The two dialects write the same statement, each by a class of its own."""
    return (postgresql if session.get_bind().dialect.name == "postgresql" else sqlite).insert(table)
