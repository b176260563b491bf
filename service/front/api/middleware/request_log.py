"""A line in the log for each request: who asked for what under which id, what was answered, where its time went."""

import logging
from time import perf_counter
from urllib.parse import quote

from asgi_correlation_id import correlation_id
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger(__name__)


class LogRequests:
    """Logs under this module's name, at INFO. An address stands there as it came: it can't begin a line of its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not log.isEnabledFor(logging.INFO):
            await self._app(scope, receive, send)
            return
        status, timing = "unanswered", b""

        async def watch(message: Message) -> None:
            nonlocal status, timing
            if message["type"] == "http.response.start":
                status = str(message["status"])
                timing = next((value for name, value in message["headers"] if name == b"server-timing"), b"")
            await send(message)

        started = perf_counter()
        try:
            await self._app(scope, receive, watch)
        finally:
            caller = "-" if scope["client"] is None else scope["client"][0]
            path, milliseconds = quote(scope["path"], safe="/@:,"), (perf_counter() - started) * 1000
            where, id = f" {timing.decode()}" if timing else "", correlation_id.get() or "-"
            fields = {"caller": caller, "method": scope["method"], "path": path, "status": status, "ms": milliseconds}
            words = ("%s %s %s %s %s %.1f ms%s", caller, id, scope["method"], path, status, milliseconds, where)
            log.info(*words, extra={"fields": fields})
