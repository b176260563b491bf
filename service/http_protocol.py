"""HTTP/1.1 as uvicorn reads it, with bounds: what a caller may send before anything of ours is asked.

httptools joins the pieces of an address, or of a header's line, anew with each packet, so that its time grows with
their square. The bounds count what it is fed. What uvicorn would refuse in plain text is a problem here.
"""

import asyncio
import logging
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from service.front.api.middleware.request_ids import HEADER, identified
from service.front.api.problems import ADDRESS_TOO_LONG, HEADERS_TOO_LARGE, MALFORMED, ProblemKind, problem

log = logging.getLogger(__name__)

ADDRESS_BYTES = 32 * 1024
HEAD_BYTES = 64 * 1024
"""The header block; the trailers of a chunked body count as part of it."""
HEADERS = 200
PIPELINED = 16
"""Requests that wait on one connection while the first is answered; each is read and kept as it arrives."""
HEAD_S = 30.0
"""How long a connection may take to send a request's head."""
LINGER_S = 2.0
"""How long what is still arriving is thrown away after a refusal: closed at once, the caller would see a broken
connection instead of the answer (RFC 9112, 9.6)."""


class _OutOfBounds(Exception):
    """Makes the parser stop; the refusal to send is kept beside it."""


class BoundedHttp(HttpToolsProtocol):
    """One connection. Bounds each request's address and headers in size, number and time."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._refusal: tuple[ProblemKind, str] | None = None
        self._refused = False
        self._head_bytes = 0
        self._header_count = 0
        self._in_head = False
        self._unread = 0
        self._head_timer: asyncio.TimerHandle | None = None

    # ---- the connection -----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._unread += len(data)
        super().data_received(data)
        if self._refused or self.transport.is_closing():
            return
        if self._unread > HEAD_BYTES:
            self._refuse(HEADERS_TOO_LARGE, _HEAD_WORDS)
        elif self._newest is None:
            self._expect_head()

    def send_400_response(self, msg: str) -> None:
        """Called where the parser has stopped: for what isn't HTTP, and for what is out of bounds."""
        self._refuse(*(self._refusal or (MALFORMED, "What arrived is no HTTP/1.1 request.")))

    # ---- the parser's callbacks ---------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_bytes, self._header_count, self._unread = True, 0, 0, 0
        self._expect_head()

    def on_url(self, url: bytes) -> None:
        self._unread = 0
        if len(self.url) + len(url) > ADDRESS_BYTES:
            self._stop(ADDRESS_TOO_LONG, f"The address is longer than {ADDRESS_BYTES} bytes.")
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._unread = 0
        self._head_bytes += len(name) + len(value) + len(": \r\n")
        self._header_count += 1
        if self._head_bytes > HEAD_BYTES or self._header_count > HEADERS:
            self._stop(HEADERS_TOO_LARGE, _HEAD_WORDS)
        # Trailers change nothing: whatever reads the headers has read them by then, or would read them twice.
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= PIPELINED:
            self._stop(MALFORMED, f"More than {PIPELINED} requests wait on this connection.")
        self._in_head = False
        self._head_came()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unread = 0
        super().on_body(body)

    # ---- refusing -----------------------------------------------------------------------------------------------

    def _stop(self, kind: ProblemKind, detail: str) -> None:
        self._refusal = kind, detail
        raise _OutOfBounds(detail)

    def _refuse(self, kind: ProblemKind, detail: str) -> None:
        """Answer and close. Requests that arrived whole before this are answered first."""
        self._refused = True
        self._head_came()
        if (cycle := self._newest) is not None:
            cycle.keep_alive = False
            if not cycle.more_body:
                return
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started or self.pipeline:
                self.transport.close()
                return
        answer = identified(lambda: problem(kind, detail, headers={"Connection": "close"}))
        caller = "-" if self.client is None else self.client[0]
        log.info("%s refused before it was a request: %d %s [%s]", caller, kind.status, detail, answer.headers[HEADER])
        lines = [STATUS_LINE[kind.status], *(b"%s: %s\r\n" % header for header in answer.raw_headers), b"\r\n"]
        self.transport.write(b"".join([*lines, bytes(answer.body)]))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.close)

    @property
    def _newest(self) -> RequestResponseCycle | None:
        """The request that arrived last, while it isn't answered."""
        cycle = cast(RequestResponseCycle | None, self.cycle)  # None before the first, whatever uvicorn declares
        return None if cycle is None or cycle.response_complete else cycle

    def _expect_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_S, self.transport.close)

    def _head_came(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


_HEAD_WORDS = f"The headers are more than {HEADERS}, or larger than {HEAD_BYTES} bytes in all."
