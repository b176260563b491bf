"""What was created under a caller's own key, so that asking again creates nothing and is answered the same.

A key is written in the transaction of its creation: after a crash both are there or neither. Of two creations under one
key the second breaks on the table's primary key, changes nothing, and finds the first one's answer here.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import delete, or_, select
from sqlalchemy.orm import Session

from models_registry.errors import Conflict
from models_registry.records import AdapterVersion, BaseModel, Once
from models_registry.storage.reading import base_model_record
from models_registry.storage.tables import BaseModelRow, CreationKeyRow

KEPT = timedelta(hours=24)
SWEPT = 100
"""How many expired keys a writer of a new one removes: more than one, so that they don't pile up."""

VERSION = TypeAdapter(AdapterVersion)


def remember_base_model(session: Session, once: Once | None, model: BaseModel) -> None:
    _remember(session, once, {"model": model.id, "created_at": model.created_at.isoformat()})


def remember_version(session: Session, once: Once | None, version: AdapterVersion, warnings: Sequence[str]) -> None:
    _remember(session, once, {"version": VERSION.dump_python(version, mode="json"), "warnings": list(warnings)})


def recall_base_model(session: Session, once: Once) -> BaseModel | None:
    """What was registered under the key, as it is now. Raises `Conflict` if it was for something else, or if the model
    was removed since."""
    answer = _recall(session, once)
    if answer is None:
        return None
    row = session.get(BaseModelRow, answer["model"])
    if row is None or row.created_at != datetime.fromisoformat(answer["created_at"]):
        raise Conflict(
            f"The Idempotency-Key {once.key!r} registered {answer['model']!r}, which was removed; take a new key."
        )
    return base_model_record(row)


def recall_version(session: Session, once: Once) -> tuple[AdapterVersion, tuple[str, ...]] | None:
    """The version that was made under the key, as it was then, and the warnings that came with it. Raises `Conflict` if
    it was for something else."""
    answer = _recall(session, once)
    return None if answer is None else (VERSION.validate_python(answer["version"]), tuple(answer["warnings"]))


def forget_key(session: Session, once: Once | None) -> None:
    """What was created under the key was taken back: the key is free again."""
    if once is not None:
        ours = (CreationKeyRow.key == once.key) & (CreationKeyRow.fingerprint == once.fingerprint)
        session.execute(delete(CreationKeyRow).where(ours))


def _remember(session: Session, once: Once | None, answer: dict[str, Any]) -> None:
    if once is None:
        return
    now = datetime.now(UTC)
    expired = CreationKeyRow.created_at < now - KEPT
    oldest = select(CreationKeyRow.key).where(expired).order_by(CreationKeyRow.created_at).limit(SWEPT)
    ours = expired & (CreationKeyRow.key == once.key)
    session.execute(delete(CreationKeyRow).where(or_(ours, CreationKeyRow.key.in_(oldest))))
    session.add(CreationKeyRow(key=once.key, fingerprint=once.fingerprint, answer=answer, created_at=now))


def _recall(session: Session, once: Once) -> dict[str, Any] | None:
    row = session.get(CreationKeyRow, once.key)
    if row is None or row.created_at < datetime.now(UTC) - KEPT:
        return None
    if row.fingerprint != once.fingerprint:
        raise Conflict(f"The Idempotency-Key {once.key!r} was used for another request; take a new key for a new one.")
    return row.answer
