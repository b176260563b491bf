"""How processes over one database share each team's limits: they exchange what was spent, about every second."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from uuid import uuid4

from models_registry.storage import team_spending_rows
from models_registry.storage.database import Database
from models_registry.teams import TeamShared, TeamSpent


class TeamSpending:
    """Of one process. Nothing in here is a change of the registry, so that its generation stays."""

    def __init__(self, database: Database, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """`clock` is much the same in every process."""
        self._database = database
        self._clock = clock
        self._process = uuid4().hex
        self._running: frozenset[str] = frozenset()

    def exchange(self, spent: Mapping[str, TeamSpent]) -> Mapping[str, TeamShared]:
        """Report what this process has `spent` since the last call, and read what all have left. Writes nothing while
        there is nothing to report. Raises `Unavailable`, and `Conflict` where another process reported a team for the
        first time at the same moment: then nothing was reported."""
        running = frozenset(team for team, own in spent.items() if own.rows)
        reported = {
            team: own for team, own in spent.items() if own.requests or own.tokens or team in running | self._running
        }
        now = self._clock()
        if not reported:
            with self._database.read() as session:
                return team_spending_rows.share(session, now, self._process, spent)
        with self._database.write() as session:
            team_spending_rows.lock(session, reported)
            shared = team_spending_rows.share(session, now, self._process, spent)
            team_spending_rows.record(session, now, self._process, reported, shared)
        self._running = running
        return shared
