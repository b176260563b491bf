"""A request over the bare ASGI interface, whose body arrives chunk by chunk."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.types import Message


class Arriving:
    """A request whose body arrives in `chunks`; `taken` says how many of them the service asked for. With `leaves` the
    caller is gone after the last one, though more was to come."""

    def __init__(self, chunks: Sequence[bytes], *, leaves: bool = False, **headers: str) -> None:
        self.taken = 0
        self._chunks = chunks
        self._leaves = leaves
        raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        self.request = Request({"type": "http", "method": "POST", "path": "/", "headers": raw}, self._receive)

    async def _receive(self) -> Message:
        self.taken += 1
        if self.taken > len(self._chunks):
            return {"type": "http.disconnect"}
        more = self._leaves or self.taken < len(self._chunks)
        return {"type": "http.request", "body": self._chunks[self.taken - 1], "more_body": more}
