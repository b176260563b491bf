"""The end of the process: running requests are finished, new ones get 503."""

from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from service.front.api.problems import UNAVAILABLE, problem


class Drain:
    """How many requests run, and whether new ones are let in. Belongs to the event loop; no thread touches it.

    `give_up` ends the running requests at once with an error of ours; the server sets it.
    """

    def __init__(self) -> None:
        self.running = 0
        self.announced = False
        self.begun = False
        self.give_up: Callable[[], None] = lambda: None

    def announce(self) -> None:
        """Not ready from now on, so that a balancer looks away; new requests are still let in."""
        self.announced = True

    def begin(self) -> None:
        self.announced = self.begun = True

    @property
    def finished(self) -> bool:
        return self.begun and self.running == 0


class RefuseWhileDraining:
    """Counts requests in and out; once the drain has begun, answers each new one with 503."""

    def __init__(self, app: ASGIApp, drain: Drain) -> None:
        self._app = app
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._drain.begun:
            refusal = problem(
                UNAVAILABLE, "The service is shutting down; ask another instance.", headers={"Connection": "close"}
            )
            await refusal(scope, receive, send)
            return
        self._drain.running += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._drain.running -= 1
