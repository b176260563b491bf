"""How processes over one database have one limit each team: they tell each other what was spent, every second or so."""

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
        """Tell what this process has `spent` since the last call, and hear what all have left. Writes nothing while
        there is nothing to tell. Raises `Unavailable`, and `Conflict` where another told of a team for the first time
        at the same moment: then nothing was told."""
        running = frozenset(team for team, own in spent.items() if own.rows)
        told = {
            team: own for team, own in spent.items() if own.requests or own.tokens or team in running | self._running
        }
        now = self._clock()
        if not told:
            with self._database.read() as session:
                return team_spending_rows.share(session, now, self._process, spent)
        with self._database.write() as session:
            team_spending_rows.lock(session, told)
            shared = team_spending_rows.share(session, now, self._process, spent)
            team_spending_rows.record(session, now, self._process, told, shared)
        self._running = running
        return shared
