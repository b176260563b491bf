"""Threads for what takes long. The teams take turns for them, so that a team that asks often waits for itself."""

from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

from service.front.access.caller import current_caller
from service.front.admission.team_places import TeamPlaces

T = TypeVar("T")


class TeamThreads:
    """Belongs to the event loop; no thread touches it."""

    def __init__(self, most: int) -> None:
        """So many at the same time."""
        self._places = TeamPlaces(most)
        self._threads = CapacityLimiter(most)

    async def run(self, work: Callable[[], T]) -> T:
        """What `work` returns, in the turn of the caller's team. Raises what it raises."""
        team = current_caller().team
        await self._places.take(team)
        try:
            return await to_thread.run_sync(work, limiter=self._threads)
        finally:
            self._places.give_back(team)
