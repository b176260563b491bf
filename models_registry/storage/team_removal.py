"""The end of a team: `access.py` alone calls this, inside its transaction."""

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from models_registry.errors import Conflict
from models_registry.records import DEFAULT_TEAM
from models_registry.storage.access_rows import find_team, key_record
from models_registry.storage.events import log
from models_registry.storage.reading import is_of_team
from models_registry.storage.tables import AdapterRow, BaseModelRow, KeyRow, TeamInFlightRow, TeamLevelRow, TeamRow

NAMED = 10
"""So many of each kind of what is in the way are named."""


def remove_team(session: Session, name: str) -> None:
    """With its keys that are no longer valid. What it used, and events about it, stay.

    Raises `NotFound`, and `Conflict` with everything that is in the way.
    """
    find_team(session, name)
    if name == DEFAULT_TEAM:
        raise Conflict(f"The team {name!r} is always there; callers without a key belong to it.")
    in_the_way = [
        *_said("adapters", _adapters(session, name), "remove them"),
        *_said("valid keys", _valid_keys(session, name), "revoke them"),
        *_said("base models that are kept for some teams", _base_models(session, name), "change their `teams`"),
    ]
    if in_the_way:
        raise Conflict(f"The team {name!r} still has {'; '.join(in_the_way)}.")
    _require_other_keys(session, name)
    for row in (KeyRow, TeamLevelRow, TeamInFlightRow):
        session.execute(delete(row).where(row.team == name))
    session.execute(delete(TeamRow).where(TeamRow.name == name))
    log(session, "team.removed", name, name)


def _adapters(session: Session, team: str) -> Sequence[str]:
    own = select(AdapterRow.name).where(is_of_team(AdapterRow.name, team)).order_by(AdapterRow.name)
    return session.scalars(own.limit(NAMED + 1)).all()


def _valid_keys(session: Session, team: str) -> Sequence[str]:
    now = datetime.now(UTC)
    own = session.scalars(select(KeyRow).where(KeyRow.team == team, KeyRow.revoked_at.is_(None)).order_by(KeyRow.id))
    return [f"{key.id} ({key.name})" for key in map(key_record, own) if key.is_valid(now)]


def _base_models(session: Session, team: str) -> Sequence[str]:
    kept = session.execute(select(BaseModelRow.id, BaseModelRow.teams).where(BaseModelRow.teams.is_not(None)))
    return sorted(id for id, teams in kept if teams and team in teams)


def _said(what: str, names: Sequence[str], how: str) -> list[str]:
    shown = ", ".join(names[:NAMED]) + (" and others" if len(names) > NAMED else "")
    return [f"{what} ({how}): {shown}"] if names else []


def _require_other_keys(session: Session, team: str) -> None:
    """Raises `Conflict` where the team had the only keys: that there ever was one keeps the service closed."""
    own, others = (
        session.scalars(select(func.count()).where(of)).one() for of in (KeyRow.team == team, KeyRow.team != team)
    )
    if own and not others:
        raise Conflict(
            f"The keys of the team {team!r} are the only ones there ever were, and without any the service would be "
            "open to everyone on its machine. Make a key for another team first."
        )
