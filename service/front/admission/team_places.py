"""Places for which teams take turns, so that a team that asks often waits for itself."""

import asyncio
from collections import Counter


class TeamPlaces:
    """Belongs to the event loop; no thread touches it."""

    def __init__(self, most: int, alone: int | None = None, beside_others: int | None = None) -> None:
        """So many at the same time. A team has at most `alone` of them while no other has one or waits for one, and
        gets none beyond `beside_others` meanwhile; without these numbers it may have all."""
        self.most = most
        self._alone = most if alone is None else alone
        self._beside_others = most if beside_others is None else beside_others
        self._taken = Counter[str]()
        self._waiting: dict[str, dict[asyncio.Future[None], None]] = {}

    def waiting(self, team: str) -> int:
        """How many of the team's wait for a place."""
        return len(self._waiting.get(team, ()))

    async def take(self, team: str) -> None:
        """A place, in the team's turn; `give_back` ends it."""
        if self._may_have_one(team):
            self._taken[team] += 1
            return
        turn = asyncio.get_running_loop().create_future()
        own = self._waiting.setdefault(team, {})
        own[turn] = None
        try:
            await turn
        except asyncio.CancelledError:
            own.pop(turn, None)
            if not own and self._waiting.get(team) is own:
                del self._waiting[team]
            if not turn.cancelled():  # the place came at this moment
                self._leave(team)
            self._pass_on()
            raise

    def give_back(self, team: str) -> None:
        self._leave(team)
        self._pass_on()

    def _leave(self, team: str) -> None:
        self._taken[team] -= 1
        self._taken += Counter()  # without the teams that have none

    def _pass_on(self) -> None:
        """To the teams that have waited longest for a turn; the next turn of each comes after all others'."""
        while (team := next(filter(self._may_have_one, self._waiting), None)) is not None:
            own = self._waiting.pop(team)
            turn = next(iter(own))
            del own[turn]
            if own:
                self._waiting[team] = own
            if not turn.done():
                self._taken[team] += 1
                turn.set_result(None)

    def _may_have_one(self, team: str) -> bool:
        is_alone = self._taken.keys() | self._waiting.keys() <= {team}
        limit = self._alone if is_alone else self._beside_others
        return self._taken.total() < self.most and self._taken[team] < limit
