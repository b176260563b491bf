"""What changes teams and keys: `access.py` alone calls this, inside its transactions."""

from collections.abc import Collection, Mapping
from dataclasses import asdict, fields
from datetime import UTC, datetime

from pydantic import TypeAdapter
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from models_registry.errors import Conflict, NotFound
from models_registry.event_records import REFUSED, Refusal
from models_registry.records import Key
from models_registry.storage.events import log, log_as
from models_registry.storage.tables import EventRow, KeyRow, TeamRow
from models_registry.teams import Team, TeamLimits

_KEY = TypeAdapter(Key)
LONGEST_SUBJECT = 386
KEPT_REFUSALS = 10_000


def add_team(session: Session, name: str, limits: TeamLimits) -> Team:
    if session.get(TeamRow, name):
        raise Conflict(f"There is a team {name!r} already.")
    row = TeamRow(name=name, created_at=datetime.now(UTC), limits=limits.as_dict() or None)
    session.add(row)
    session.flush()
    log(session, "team.created", name, name, limits=limits.as_dict())
    return team_record(row)


def limit_team(session: Session, name: str, limits: TeamLimits) -> Team:
    before = find_team(session, name).limits
    row = session.get_one(TeamRow, name)
    row.limits = limits.as_dict() or None
    if limits != before:
        log(session, "team.limited", name, name, before=before.as_dict(), after=limits.as_dict())
    return team_record(row)


def find_team(session: Session, name: str) -> Team:
    if (row := session.get(TeamRow, name)) is None:
        raise NotFound(f"There is no team {name!r}; an admin makes it with POST /teams.")
    return team_record(row)


def list_teams(session: Session, limit: int, after: str | None) -> tuple[Team, ...]:
    chosen = select(TeamRow).order_by(TeamRow.name).limit(limit)
    if after is not None:
        chosen = chosen.where(TeamRow.name > after)
    return tuple(team_record(row) for row in session.scalars(chosen))


def team_names(session: Session) -> frozenset[str]:
    return frozenset(session.scalars(select(TeamRow.name)))


def limited_teams(session: Session) -> Mapping[str, TeamLimits]:
    rows = session.scalars(select(TeamRow).where(TeamRow.limits.is_not(None)))
    return {team.name: team.limits for team in map(team_record, rows)}


def add_key(session: Session, key: Key) -> None:
    find_team(session, key.team)
    session.add(KeyRow(**asdict(key)))
    log(session, "key.created", key.id, key.team, name=key.name, team=key.team, role=key.role)


def revoke_key(session: Session, id: str) -> None:
    row = session.get(KeyRow, id)
    if row is None:
        raise NotFound(f"There is no key {id!r}.")
    if row.revoked_at is None:
        row.revoked_at = datetime.now(UTC)
        log(session, "key.revoked", id, row.team, name=row.name, team=row.team)


def list_keys(session: Session) -> tuple[Key, ...]:
    return tuple(key_record(row) for row in session.scalars(select(KeyRow).order_by(KeyRow.created_at, KeyRow.id)))


def note_uses(session: Session, uses: Mapping[str, datetime]) -> None:
    for id, at in uses.items():
        older = KeyRow.last_used_at.is_(None) | (KeyRow.last_used_at < at)
        session.execute(update(KeyRow).where(KeyRow.id == id, older).values(last_used_at=at))


def add_refusals(session: Session, refusals: Collection[Refusal], left_out: int) -> None:
    """Remove the oldest where there are very many, because refused callers could fill the disk with them."""
    for refusal in refusals:
        detail = {"status": refusal.status}
        row = EventRow(kind=REFUSED, subject=refusal.subject[:LONGEST_SUBJECT], team=refusal.team, detail=detail)
        log_as(session, refusal.author, refusal.at, row)
    if left_out:
        log(session, REFUSED, "others", left_out=left_out)
    session.flush()
    numbers = select(EventRow.id).where(EventRow.kind == REFUSED).order_by(EventRow.id.desc())
    oldest = session.scalar(numbers.offset(KEPT_REFUSALS).limit(1))
    if oldest is not None:
        session.execute(delete(EventRow).where(EventRow.kind == REFUSED, EventRow.id <= oldest))


def team_record(row: TeamRow) -> Team:
    return Team(row.name, row.created_at, TeamLimits(**(row.limits or {})))


def key_record(row: KeyRow) -> Key:
    return _KEY.validate_python({field.name: getattr(row, field.name) for field in fields(Key)})
