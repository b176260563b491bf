"""Looks which replicas of a base model are there: for what is pinned on them, and to notice that none is."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from service.transports.ray_pins import PinKeeper
from service.transports.ray_replicas import Replicas

LOOKING_S: Final = 1.0
ABSENT_S: Final = 10.0
"""So long requests wait for a replica. A new one is often there sooner."""

log = logging.getLogger(__name__)


class ReplicaWatch:
    """For one event loop."""

    def __init__(self, model: str, replicas: Replicas, pins: PinKeeper, lose: Callable[[], None]) -> None:
        """`lose` is called once no replica was there for so long."""
        self._model = model
        self._replicas = replicas
        self._pins = pins
        self._lose = lose

    async def run(self) -> None:
        """Until it is cancelled, or has called `lose`."""
        seen_at = time.monotonic()
        while time.monotonic() - seen_at < ABSENT_S:
            await asyncio.sleep(LOOKING_S)
            if await self._sees_any():
                seen_at = time.monotonic()
        self._lose()

    async def _sees_any(self) -> bool:
        try:
            if places := await self._replicas.places():
                await self._pins.look(places)
        except Exception:  # without this watch nobody would notice that the replicas are gone
            log.exception("the replicas of model %s weren't seen", self._model)
            return False
        return bool(places)
