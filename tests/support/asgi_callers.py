"""Callers at the app's ASGI interface, below any client: their requests' scope, and one who reads a stream at their own
pace and may disconnect in the middle of it."""

import asyncio
import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from starlette.testclient import TestClient
from starlette.types import Message, Scope


def post_scope(path: str, headers: Mapping[str, str] = MappingProxyType({})) -> Scope:
    """Of a POST with a JSON body."""
    sent = {"content-type": "application/json", **headers}
    return {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in sent.items()],
        "client": ("somebody", 1),
        "server": ("here", 80),
        "extensions": {},
    }


class Reader:
    """`before_reading` blocks in a thread before each piece is taken. With `leaves` the caller disconnects after the
    first."""

    def __init__(self, client: TestClient, path: str, body: dict[str, Any], *, leaves: bool = False) -> None:
        self.received: list[bytes] = []
        self.before_reading: Callable[[], Any] = lambda: None
        self._client = client
        self._body = json.dumps(body).encode()
        self._leaves = leaves
        self._has_sent = False
        self._has_part = asyncio.Event()
        self._scope = post_scope(path)

    @property
    def text(self) -> str:
        return b"".join(self.received).decode()

    def ask(self) -> None:
        """Returns when the app is done with the request."""
        portal = self._client.portal
        assert portal is not None
        portal.call(self._client.app, self._scope, self._receive, self._send)

    async def _receive(self) -> Message:
        if not self._has_sent:
            self._has_sent = True
            return {"type": "http.request", "body": self._body}
        await self._has_part.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        await asyncio.to_thread(self.before_reading)
        if part := message.get("body"):
            self.received.append(part)
            if self._leaves:
                self._has_part.set()
