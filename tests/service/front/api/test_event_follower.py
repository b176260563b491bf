"""A stream of changes ends with the service, whatever is still to come."""

import asyncio
from types import SimpleNamespace
from typing import cast

from service.front.api.event_follower import NumberedEvent, follow_events
from service.front.api.middleware.draining import Drain
from service.front.engine import Engine


def test_a_stream_says_what_is_there_and_ends_once_the_service_drains() -> None:
    drain, engine = Drain(), cast(Engine, SimpleNamespace(generation=7))

    def read(after: int) -> list[NumberedEvent]:
        return [NumberedEvent(id=id) for id in (1, 2) if id > after]

    async def follow() -> list[bytes]:
        chunks: list[bytes] = []
        async with follow_events(engine, drain, read, 0) as events:
            async for chunk in events.chunks:
                chunks.append(chunk)
                if len(chunks) == 3:
                    drain.begin()
        return chunks

    assert asyncio.run(follow()) == [
        b": still there\n\n",
        b'id: 1\nevent: change\ndata: {"id":1}\n\n',
        b'id: 2\nevent: change\ndata: {"id":2}\n\n',
    ]
