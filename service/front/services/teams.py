"""The verbs of teams: what each may have, and how much of it is in use."""

from collections.abc import Mapping

from models_registry.access import Access
from models_registry.errors import NotFound
from models_registry.teams import StoredUse, Team, TeamLimits
from service.front.access.caller import Caller
from service.front.admission.team_admission import AskedUse
from service.front.engine import Engine


class Teams:
    """Every verb may block. What is changed here is in force here at once, elsewhere within two seconds."""

    def __init__(self, access: Access, engine: Engine) -> None:
        self._access = access
        self._engine = engine
        self._shares: Mapping[str, float] = {}

    def add(self, name: str, limits: TeamLimits) -> Team:
        """Raises `Invalid` for the name, `Conflict` if it is taken."""
        team = self._access.add_team(name, limits)
        self._engine.catch_up()
        return team

    def limit(self, name: str, limits: TeamLimits) -> Team:
        """Let these be all the limits that the team has. Raises `NotFound`."""
        team = self._access.limit_team(name, limits)
        self._engine.catch_up()
        return team

    def remove(self, name: str) -> None:
        """Raises `NotFound`, and `Conflict` with everything that is still the team's."""
        self._access.remove_team(name)
        self._engine.catch_up()

    def find(self, caller: Caller, name: str) -> Team:
        """Raises `NotFound`, also for another team than the caller's own, unless they are an admin."""
        if name != caller.team and not caller.may("admin"):
            raise NotFound(f"There is no team {name!r}.")
        return self._access.find_team(name)

    def list(self, limit: int, after: str | None) -> tuple[Team, ...]:
        """At most `limit`, by name, those after the name `after`."""
        return self._access.list_teams(limit, after)

    def stored_use(self, team: str) -> StoredUse:
        """What it has stored now."""
        return self._access.stored_use(team)

    def asked_use(self, team: str) -> AskedUse:
        """What it asks for now."""
        return self._engine.admission.teams.use_of(team)

    def resident_share(self, team: str) -> float:
        """What its adapters take now of one model's memory for adapters, where that is the most."""
        return self._engine.resident_share(team)

    def refresh(self) -> None:
        """Put every limit in force that was set until now. Raises `Unavailable`."""
        limits = self._access.limited_teams()
        self._engine.admission.teams.set_limits(limits)
        shares = {team: own.resident_share for team, own in limits.items() if own.resident_share is not None}
        if shares != self._shares:
            self._engine.set_resident_shares(shares)
            self._shares = shares
