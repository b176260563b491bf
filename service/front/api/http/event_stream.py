"""Server-sent events: an answer that is written while it is made, and ends with its caller.

sse-starlette ends its streams as soon as the server is asked to stop; ours are finished within the drain like all
requests.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.front.api.http.client_disconnect import while_there
from service.front.api.http.tensors import write_json

EVENTS = "text/event-stream"
KEEP_ALIVE_S = 15.0
"""A stream says something at least so often, for proxies close what is silent."""
KEEP_ALIVE = b": still there\n\n"


@dataclass(frozen=True, slots=True)
class Events:
    """`chunks` are whole events; `headers` are known once there is a first one."""

    chunks: AsyncGenerator[bytes]
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


def event(data: Any, name: str | None = None) -> bytes:
    """One event, its data as JSON, which has no line breaks of its own."""
    return b"%sdata: %s\n\n" % (b"" if name is None else b"event: %s\n" % name.encode(), write_json(data))


class EventStream(Response):
    """Enters `opened` and writes what it gives. What `opened` raises as it is entered is an error like all others: the
    answer has not begun then. Once its caller has disconnected, it is cancelled."""

    media_type = EVENTS

    def __init__(self, opened: AbstractAsyncContextManager[Events]) -> None:
        super().__init__(headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._opened = opened

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False
        try:
            async with while_there(Request(scope, receive)), self._opened as events:
                MutableHeaders(raw=self.raw_headers).update(events.headers)
                begun = True
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                async with aclosing(events.chunks) as chunks:
                    async for chunk in chunks:
                        await send({"type": "http.response.body", "body": chunk, "more_body": True})
                await send({"type": "http.response.body", "body": b""})
        except ClientDisconnect:
            if not begun:
                raise
