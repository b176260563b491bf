"""What a team may store. Checked inside the transaction that adds something: writers run one after another there, so
that two processes can't both take what is left."""

from hashlib import sha256

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from models_registry.errors import LimitReached, NotFound
from models_registry.references import team_of
from models_registry.storage.reading import is_of_team
from models_registry.storage.tables import AdapterRow, TeamRow, VersionRow
from models_registry.teams import NO_LIMITS, StoredUse, TeamLimits


def limits_of(session: Session, team: str) -> TeamLimits:
    """Of a team that has none, or that isn't there, no limits."""
    kept = session.scalars(select(TeamRow.limits).where(TeamRow.name == team)).first()
    return TeamLimits(**kept) if kept else NO_LIMITS


def stored_use(session: Session, team: str) -> StoredUse:
    return StoredUse(_count_adapters(session, team), _count_bytes(session, team))


def require_room(session: Session, name: str, weights: bytes) -> None:
    """Raises `LimitReached` if the team of the adapter `name`, a new one or not, may not store these bytes too."""
    if session.get(AdapterRow, name) is None:
        require_another_adapter(session, name)
    require_bytes(session, name, weights)


def require_another_adapter(session: Session, name: str) -> None:
    """Raises `LimitReached` if the team that the new adapter `name` belongs to may have no more, `NotFound` if it was
    removed meanwhile."""
    team = team_of(name)
    if session.get(TeamRow, team) is None:
        raise NotFound(f"There is no team {team!r}.")
    limit = limits_of(session, team).adapters
    if limit is not None and (count := _count_adapters(session, team)) >= limit:
        raise LimitReached(
            f"The team {team!r} has {count} adapters, and its limit `adapters` is {limit}.",
            hint="Delete adapters that are no longer needed, or ask an admin for a higher limit.",
        )


def require_bytes(session: Session, name: str, weights: bytes, digest: str | None = None) -> None:
    """Raises `LimitReached` if the team of the adapter `name` may not store these bytes too. Those of a blob that it
    has already take no more room. `digest` (hex) is that of `weights`, where it is known."""
    team = team_of(name)
    limit = limits_of(session, team).stored_bytes
    if limit is None:
        return
    stored = _count_bytes(session, team)
    if stored + len(weights) > limit and not _has_blob(session, team, digest or sha256(weights).hexdigest()):
        raise LimitReached(
            f"The team {team!r} has stored {stored} bytes, and its limit `stored_bytes` is {limit}: {len(weights)} "
            "more don't fit.",
            hint="Delete versions that are no longer needed, or ask an admin for a higher limit.",
        )


def _count_adapters(session: Session, team: str) -> int:
    return session.scalars(select(func.count()).where(is_of_team(AdapterRow.name, team))).one()


def _count_bytes(session: Session, team: str) -> int:
    blobs = (
        select(func.max(VersionRow.bytes).label("bytes"))
        .where(is_of_team(VersionRow.adapter, team))
        .group_by(VersionRow.digest)
        .subquery()
    )
    return int(session.scalars(select(func.coalesce(func.sum(blobs.c.bytes), 0))).one())


def _has_blob(session: Session, team: str, digest: str) -> bool:
    found = select(VersionRow.version).where(VersionRow.digest == digest, is_of_team(VersionRow.adapter, team))
    return session.scalars(found.limit(1)).first() is not None
