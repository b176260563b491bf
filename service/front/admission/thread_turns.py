"""Turns of teams for the threads in which everything runs that would hold up the event loop: endpoints that ask the
database, bodies that are parsed or written to a file, files that are sent.

These threads are anyio's, which Starlette and FastAPI use; anyio has one limiter for them on each event loop. Ours
takes its place, so that no endpoint has to know of turns.
"""

from contextvars import ContextVar
from typing import Final

from anyio._backends import _asyncio

from models_registry.errors import Overloaded
from service.front.access.caller import SERVICE, current_caller
from service.front.admission.team_places import TeamPlaces

THREADS: Final = 64
ALONE: Final = 40
"""As many as anyio has by default."""
BESIDE_OTHERS: Final = 8
"""The interpreter runs one thread at a time: a team with more of them would have more of it."""
MOST_WAITING: Final = 512
"""Of one team."""
ITSELF: Final = "(service)"
"""What the service does itself, and for probes, has turns of its own beside the teams'."""

_has_begun: ContextVar[bool] = ContextVar("has_begun", default=False)


class ThreadTurns(_asyncio.CapacityLimiter):
    """Belongs to the event loop; no thread touches it."""

    def __init__(self, total_tokens: float) -> None:
        self._places = TeamPlaces(int(total_tokens), ALONE, BESIDE_OTHERS)
        super().__init__(total_tokens)

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(self, *_: object) -> None:
        self.release()

    @property
    def total_tokens(self) -> float:
        return self._places.most

    @total_tokens.setter
    def total_tokens(self, value: float) -> None:
        self._places.most = int(value)

    async def acquire(self) -> None:
        """In the turn of the caller's team. Raises `Overloaded` where too many of its requests wait, and this one has
        had no thread yet: what was begun goes on."""
        team = _team()
        if not _has_begun.get() and self._places.waiting(team) >= MOST_WAITING:
            raise Overloaded(f"{MOST_WAITING} requests of the team {current_caller().team!r} wait for a thread.")
        await self._places.take(team)
        _has_begun.set(True)

    def release(self) -> None:
        self._places.give_back(_team())


def take_turns_for_threads() -> None:
    """From now on, on the running event loop."""
    _asyncio._default_thread_limiter.set(ThreadTurns(THREADS))  # pyright: ignore[reportPrivateUsage]


def _team() -> str:
    caller = current_caller()
    return ITSELF if caller == SERVICE else caller.team
