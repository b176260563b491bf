"""The log of changes as server-sent events: what was since, then every later change as it is made."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from service.front.api.http.event_stream import KEEP_ALIVE, KEEP_ALIVE_S, Events
from service.front.api.middleware.draining import Drain
from service.front.engine import Engine

LOOK_S: Final = 0.1
"""So often memory is asked whether anything was changed; the database is only asked then."""
LONGEST_S: Final = 900.0
"""Then the stream ends. To continue, a caller sends the key again, which may have been revoked."""


class NumberedEvent(BaseModel):
    id: int


Read = Callable[[int], Sequence[NumberedEvent]]
"""The next events behind one, as they are answered. May block."""


@asynccontextmanager
async def follow_events(engine: Engine, drain: Drain, read: Read, after: int) -> AsyncGenerator[Events]:
    first = await run_in_threadpool(read, after)  # an error of this one is an answer of its own
    yield Events(_chunks(engine, drain, read, first, after))


async def _chunks(
    engine: Engine, drain: Drain, read: Read, found: Sequence[NumberedEvent], after: int
) -> AsyncGenerator[bytes]:
    """Ends once the service does, or after `LONGEST_S`."""
    end = time.monotonic() + LONGEST_S
    yield KEEP_ALIVE  # a proxy passes the headers on with the first bytes
    while not drain.begun and time.monotonic() < end:
        for event in found:
            after = event.id
            yield b"id: %d\nevent: change\ndata: %s\n\n" % (after, event.model_dump_json().encode())
        generation, silent_since = engine.generation, time.monotonic()
        found = await run_in_threadpool(read, after)  # what was changed since it was read, and before the line above
        while not found and not drain.begun and engine.generation == generation:
            if time.monotonic() - silent_since > KEEP_ALIVE_S:
                yield KEEP_ALIVE
                break  # refusals are events too, though they change nothing
            await asyncio.sleep(LOOK_S)
