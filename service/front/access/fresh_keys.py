"""Keys that another process has made a moment ago: before their caller is refused, the registry is asked.

Anybody may send keys that nobody has made, so all who wait share one look, there are only so many looks a second, and
a key that was looked for isn't looked for again soon.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Final

from anyio import to_thread
from cachetools import TTLCache

from models_registry.errors import RegistryError
from service.front.access.caller import Caller
from service.front.access.key_ring import PREFIX, KeyRing, Unknown, digest_of

PERIOD_S: Final = 0.25
"""Between two looks."""
PATIENCE_S: Final = 2.0
"""A caller whose key isn't known waits at most so long for a database that doesn't answer."""
REFUSED_S: Final = 60.0
MOST_REFUSED: Final = 4096


class FreshKeys:
    """Belongs to the event loop; no thread touches it."""

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        """`now` is in seconds."""
        self._now = now
        self._refused: TTLCache[str, None] = TTLCache(MOST_REFUSED, REFUSED_S, now)
        self._next: asyncio.Task[bool] | None = None
        self._looking = asyncio.Lock()
        self._begun_at = float("-inf")

    async def identify(self, ring: KeyRing, sent: str | None, catch_up: Callable[[], None]) -> Caller:
        """As the ring, which `catch_up` brings to what all processes have made until then. It may block, and raise what
        the registry raises."""
        try:
            return ring.identify(sent)
        except Unknown:
            if sent is None or not sent.startswith(PREFIX) or ring.knows(sent) or digest_of(sent) in self._refused:
                raise
        if not await self._look(catch_up):
            raise Unknown
        try:
            return ring.identify(sent)
        except Unknown:
            self._refused[digest_of(sent)] = None
            raise

    async def _look(self, catch_up: Callable[[], None]) -> bool:
        """Whether the registry has answered, asked after this call."""
        if self._next is None:
            self._next = asyncio.create_task(self._look_in_turn(catch_up))
        try:
            return await asyncio.wait_for(asyncio.shield(self._next), PATIENCE_S)
        except TimeoutError:
            return False

    async def _look_in_turn(self, catch_up: Callable[[], None]) -> bool:
        async with self._looking:
            await asyncio.sleep(self._begun_at + PERIOD_S - self._now())
            self._begun_at = self._now()
            self._next = None  # who comes now needs another one
            with suppress(RegistryError):
                await to_thread.run_sync(catch_up)
                return True
            return False
