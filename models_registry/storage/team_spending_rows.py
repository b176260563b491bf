"""The rows by which processes exchange what teams have spent. Only `team_spending.py` calls this."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from models_registry.storage.tables import TeamInFlightRow, TeamLevelRow
from models_registry.teams import TeamShared, TeamSpent

WINDOW_S = 60.0
DEAD = timedelta(seconds=10)
"""What wasn't renewed for so long is of a process that has ended."""


def lock(session: Session, teams: Collection[str]) -> None:
    """Lock what these teams have left until the commit, always in the same order, so that no two transactions wait for
    each other."""
    for team in sorted(teams):
        session.execute(update(TeamLevelRow).where(TeamLevelRow.team == team).values(at=TeamLevelRow.at))


def share(session: Session, now: datetime, process: str, spent: Mapping[str, TeamSpent]) -> Mapping[str, TeamShared]:
    """What is left of each team's rates, less what was `spent`, and what other processes have in flight. Nothing is
    written: `record` does."""
    levels = {row.team: row for row in session.scalars(select(TeamLevelRow).where(TeamLevelRow.team.in_(spent)))}
    in_flight = TeamInFlightRow
    others = session.execute(
        select(in_flight.team, func.sum(in_flight.rows), func.sum(in_flight.sequences))
        .where(in_flight.team.in_(spent), in_flight.process != process, in_flight.at > now - DEAD)
        .group_by(in_flight.team)
    )
    running = {team: (int(rows), int(sequences)) for team, rows, sequences in others}
    return {team: _shared(own, levels.get(team), running.get(team, (0, 0)), now) for team, own in spent.items()}


def record(
    session: Session, now: datetime, process: str, spent: Mapping[str, TeamSpent], shared: Mapping[str, TeamShared]
) -> None:
    """Keep the levels that `share` gave, and what this process has in flight."""
    session.execute(delete(TeamInFlightRow).where(TeamInFlightRow.at <= now - DEAD))
    for team, own in spent.items():
        left = shared[team]
        before = session.get(TeamLevelRow, team)
        # Of processes whose clocks differ, the one that is ahead refills for all.
        at = now if before is None else max(now, before.at)
        session.merge(TeamLevelRow(team=team, requests=left.requests_left, tokens=left.tokens_left, at=at))
        session.merge(TeamInFlightRow(process=process, team=team, rows=own.rows, sequences=own.sequences, at=now))


def _shared(own: TeamSpent, row: TeamLevelRow | None, running: tuple[int, int], now: datetime) -> TeamShared:
    elapsed_s = 0.0 if row is None else max(0.0, (now - row.at).total_seconds())
    requests = _left(own.limits.requests_per_minute, row and row.requests, elapsed_s, own.requests)
    tokens = _left(own.limits.tokens_per_minute, row and row.tokens, elapsed_s, own.tokens)
    return TeamShared(requests, tokens, *running)


def _left(capacity: int | None, level: float | None, elapsed_s: float, spent: float) -> float | None:
    if capacity is None:
        return None
    refilled = capacity if level is None else level + elapsed_s * capacity / WINDOW_S
    return min(capacity, min(capacity, refilled) - spent)
