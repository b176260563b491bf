"""Callers who disconnect before they have their answer: the work for them is cancelled."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends
from starlette.requests import ClientDisconnect, Request


@asynccontextmanager
async def while_there(request: Request) -> AsyncGenerator[None]:
    """Cancels what is awaited inside once the caller has disconnected, and raises `ClientDisconnect`. The request's
    body must have been read."""
    scope = asyncio.timeout(None)
    watching = asyncio.create_task(_watch(request, lambda: scope.reschedule(0.0)))
    try:
        async with scope:
            yield
    except TimeoutError as error:
        if scope.expired():
            raise ClientDisconnect from error
        raise
    finally:
        watching.cancel()


async def _caller_left(request: Request) -> AsyncGenerator[Callable[[], bool]]:
    left = threading.Event()
    watching = asyncio.create_task(_watch(request, left.set))
    try:
        yield left.is_set
    finally:
        watching.cancel()


CallerLeft = Annotated[Callable[[], bool], Depends(_caller_left)]
"""Whether the caller has disconnected, for an endpoint that works in a thread. Put it behind the body in the endpoint's
signature: FastAPI reads in this order, and an unread part of the body would be taken for the disconnect."""


async def _watch(request: Request, leave: Callable[[], None]) -> None:
    # After its body, a request brings only one more message: that its caller has disconnected.
    while (await request.receive())["type"] != "http.disconnect":
        pass
    leave()
