"""Threads for what takes long. The teams take turns for them, so that a team that asks often waits for itself."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

from service.front.access.caller import current_caller

T = TypeVar("T")


class TeamThreads:
    """Belongs to the event loop; no thread touches it."""

    def __init__(self, most: int) -> None:
        """So many at the same time."""
        self._free = most
        self._threads = CapacityLimiter(most)
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    async def run(self, work: Callable[[], T]) -> T:
        """What `work` returns, in the turn of the caller's team. Raises what it raises."""
        await self._take_place(current_caller().team)
        try:
            return await to_thread.run_sync(work, limiter=self._threads)
        finally:
            self._pass_on()

    async def _take_place(self, team: str) -> None:
        if self._free:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(team, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # the place came at this moment
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        """To the team that has waited longest for a turn, whose next turn comes after all others'."""
        while self._waiting:
            team, own = next(iter(self._waiting.items()))
            turn = own.popleft()
            del self._waiting[team]
            if own:
                self._waiting[team] = own
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
