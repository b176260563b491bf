"""Access: teams, what these may have, and the keys of callers. One method is one transaction,
committed on return.

A key itself is never stored, only its sha256, so that a reader of the database can't call with it.
"""

from collections.abc import Collection, Generator, Mapping
from contextlib import contextmanager
from datetime import datetime

from sqlalchemy import update
from sqlalchemy.orm import Session

from models_registry.event_records import Refusal
from models_registry.records import Key
from models_registry.references import require_name
from models_registry.storage import access_rows, team_quotas, team_removal
from models_registry.storage.database import Database
from models_registry.storage.tables import GenerationRow
from models_registry.teams import NO_LIMITS, StoredUse, Team, TeamLimits


class Access:
    """Safe under threads and processes. Every method raises `Unavailable` while the database is away, and those that
    write raise `NoRoom` when it is full."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add_team(self, name: str, limits: TeamLimits = NO_LIMITS) -> Team:
        """Raises `Invalid` for the name, `Conflict` if it is taken."""
        require_name("name", name)
        with self._write() as session:
            return access_rows.add_team(session, name, limits)

    def limit_team(self, name: str, limits: TeamLimits) -> Team:
        """Let these be all the limits that the team has. Raises `NotFound`."""
        with self._write() as session:
            return access_rows.limit_team(session, name, limits)

    def remove_team(self, name: str) -> None:
        """What it used stays on record. Raises `NotFound`, and `Conflict` with everything that is still its."""
        with self._write() as session:
            team_removal.remove_team(session, name)

    def stored_use(self, team: str) -> StoredUse:
        """What the team has stored now."""
        with self._database.read() as session:
            return team_quotas.stored_use(session, team)

    def limited_teams(self) -> Mapping[str, TeamLimits]:
        """Every team that has limits."""
        with self._database.read() as session:
            return access_rows.limited_teams(session)

    def find_team(self, name: str) -> Team:
        """Raises `NotFound`."""
        with self._database.read() as session:
            return access_rows.find_team(session, name)

    def list_teams(self, limit: int, after: str | None = None) -> tuple[Team, ...]:
        """At most `limit` teams by name, those after the name `after`."""
        with self._database.read() as session:
            return access_rows.list_teams(session, limit, after)

    def team_names(self) -> frozenset[str]:
        """All there are."""
        with self._database.read() as session:
            return access_rows.team_names(session)

    def add_key(self, key: Key) -> None:
        """Raises `NotFound` for its team."""
        with self._write() as session:
            access_rows.add_key(session, key)

    def revoke_key(self, id: str) -> None:
        """Revoke it; to revoke it again is no error. Raises `NotFound`."""
        with self._write() as session:
            access_rows.revoke_key(session, id)

    def list_keys(self) -> tuple[Key, ...]:
        """Every key that there ever was, the oldest first."""
        with self._database.read() as session:
            return access_rows.list_keys(session)

    def note_uses(self, uses: Mapping[str, datetime]) -> None:
        """Record when keys, by their ids, were used. The generation stays, because no snapshot depends on it."""
        with self._database.write() as session:
            access_rows.note_uses(session, uses)

    def add_refusals(self, refusals: Collection[Refusal], left_out: int) -> None:
        """Note attempts at changes that were refused, and how many more there were. Nothing is changed by them, so that
        nobody looks again; only so many are kept."""
        with self._database.write() as session:
            # Locked, so that events are numbered in the order of the commits.
            session.execute(update(GenerationRow).values(value=GenerationRow.value))
            access_rows.add_refusals(session, refusals, left_out)

    @contextmanager
    def _write(self) -> Generator[Session]:
        # As the registry's: other processes look again once the generation has grown.
        with self._database.write() as session:
            session.execute(update(GenerationRow).values(value=GenerationRow.value + 1))
            yield session
