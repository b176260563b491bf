"""The verbs of teams: what each may have, and how much of it is in use."""

from collections.abc import Callable, Mapping

from models_registry.access import Access
from models_registry.errors import NotFound
from models_registry.teams import StoredUse, Team, TeamLimits
from service.front.access.caller import Caller
from service.front.admission.team_admission import AskedUse, TeamAdmission


class Teams:
    """Every verb may block. What is changed here is in force here at once, elsewhere within two seconds."""

    def __init__(
        self,
        access: Access,
        admission: TeamAdmission,
        share_resident: Callable[[Mapping[str, float]], None],
        catch_up: Callable[[], None],
    ) -> None:
        """`share_resident` hears each team's share of models' memory for adapters; `catch_up` has a service in this
        process see what is in the registry."""
        self._access = access
        self._admission = admission
        self._share_resident = share_resident
        self._catch_up = catch_up

    def add(self, name: str, limits: TeamLimits) -> Team:
        """Raises `Invalid` for the name, `Conflict` if it is taken."""
        team = self._access.add_team(name, limits)
        self._catch_up()
        return team

    def limit(self, name: str, limits: TeamLimits) -> Team:
        """Let these be all the limits that the team has. Raises `NotFound`."""
        team = self._access.limit_team(name, limits)
        self._catch_up()
        return team

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
        return self._admission.use_of(team)

    def refresh(self) -> None:
        """Put every limit in force that was set until now. Raises `Unavailable`."""
        limited = self._access.limited_teams()
        self._admission.set_limits(limited)
        shares = {team: limits.resident_share for team, limits in limited.items()}
        self._share_resident({team: share for team, share in shares.items() if share is not None})
