"""A uvicorn server that ends politely: on SIGTERM it is no longer ready, refuses new requests after a delay, finishes
those that run, and exits with 0."""

import gc
import socket
from collections.abc import Callable
from time import monotonic
from types import FrameType
from typing import Any

import uvicorn

from service.front.api.middleware.draining import Drain
from service.front.api.starting import PlainStart
from service.http_protocol import BoundedHttp

GRACE_S = 10.0
"""How long requests that run may take once the process is asked to end."""


class DrainingServer(uvicorn.Server):
    """Keeps its socket open while requests run, so that new ones get 503 rather than a refused connection."""

    def __init__(self, config: uvicorn.Config, drain: Drain, delay_s: float) -> None:
        super().__init__(config)
        self._drain = drain
        self._delay_s = delay_s
        self._begin_at = self._give_up_at = float("inf")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal announces the drain, which begins `delay_s` later; a second one ends it at once."""
        if self._drain.announced:
            super().handle_exit(sig, frame)
            self._begin()
            return
        self._drain.announce()
        self._begin_at = monotonic() + self._delay_s
        if self._delay_s == 0:
            self._begin()

    async def on_tick(self, counter: int) -> bool:
        if not self._drain.begun and monotonic() >= self._begin_at:
            self._begin()
        if self._drain.finished:
            self.should_exit = True
        elif monotonic() > self._give_up_at:
            self._drain.give_up()
            self.should_exit = True
        return await super().on_tick(counter)

    def _begin(self) -> None:
        self._drain.begin()
        self._give_up_at = min(self._give_up_at, monotonic() + GRACE_S)


def run_server(app: Callable[..., Any], drain: Drain, sockets: list[socket.socket], delay_s: float) -> None:
    """Serve on these sockets until a signal, and new requests for `delay_s` longer. Raises `SystemExit` where the app
    can't start."""
    # What outlives the drain was answered by then, and has a second to be sent; the rest is cut off.
    # Our own log has a line for each request, with where its time went (api/request_log.py), and a form for the
    # server's own lines (log.py).
    config = uvicorn.Config(
        PlainStart(app),
        http=BoundedHttp,
        ws="none",  # nothing here speaks it, and what answers it would read headers by rules of its own
        timeout_graceful_shutdown=1,
        access_log=False,
        log_config=None,
    )
    # What was imported stays. Collections that look through it take a sixth of the time that a short request costs.
    gc.freeze()
    DrainingServer(config, drain, delay_s).run(sockets)
