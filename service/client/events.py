"""The log of every change that the caller may see: `client.events`, blocking and for asyncio."""

import json
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing, closing
from typing import TypeAlias

from httpx_sse import ServerSentEvent

from service.client.calls import Call, Send, SendAsync
from service.client.errors import Unreachable
from service.client.event_calls import Event, follow_events, list_events

Stream: TypeAlias = Callable[[Call[None]], Generator[ServerSentEvent]]
AsyncStream: TypeAlias = Callable[[Call[None]], AsyncGenerator[ServerSentEvent]]


class Events:
    def __init__(self, send: Send, stream: Stream) -> None:
        self._send = send
        self._stream = stream

    def list(self, *, after: int = 0, **filters: str | int) -> Generator[Event]:
        """Every change after the event `after`, the oldest first. `filters` are those of `GET /events`."""
        while (page := self._send(list_events(after, filters))).items:
            yield from page.items
            after = page.next_after

    def follow(self, *, after: int = 0, **filters: str | int) -> Generator[Event]:
        """As `list`, and then every later change as it is made; never ends. A connection that breaks is begun anew,
        without a change that is missed or comes twice. Raises `Unreachable` where nobody answers any more."""
        while True:
            try:
                with closing(self._stream(follow_events(after, filters))) as changes:
                    for change in changes:
                        event = Event.read(json.loads(change.data))
                        after = event.id
                        yield event
            except Unreachable:
                self._send(list_events(after, filters))  # raised from here where the service stays away


class AsyncEvents:
    """As `Events`, for asyncio."""

    def __init__(self, send: SendAsync, stream: AsyncStream) -> None:
        self._send = send
        self._stream = stream

    async def list(self, *, after: int = 0, **filters: str | int) -> AsyncGenerator[Event]:
        """Every change after the event `after`, the oldest first. `filters` are those of `GET /events`."""
        while (page := await self._send(list_events(after, filters))).items:
            for event in page.items:
                yield event
            after = page.next_after

    async def follow(self, *, after: int = 0, **filters: str | int) -> AsyncGenerator[Event]:
        """As `list`, and then every later change as it is made; never ends. A connection that breaks is begun anew,
        without a change that is missed or comes twice. Raises `Unreachable` where nobody answers any more."""
        while True:
            try:
                async with aclosing(self._stream(follow_events(after, filters))) as changes:
                    async for change in changes:
                        event = Event.read(json.loads(change.data))
                        after = event.id
                        yield event
            except Unreachable:
                await self._send(list_events(after, filters))  # raised from here where the service stays away
