"""Callers who leave before they have their answer: what is done for them ends, rather than goes on for nobody."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends
from starlette.requests import ClientDisconnect, Request


@asynccontextmanager
async def while_there(request: Request) -> AsyncGenerator[None]:
    """Cancels what is awaited inside once the caller has gone, and raises `ClientDisconnect`. The request's body must
    have been read."""
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
"""Whether the caller has gone, for an endpoint that works in a thread. It stands behind the body in the endpoint's
signature: FastAPI reads in this order, and whatever has not been read of a body would be taken for the caller's end."""


async def _watch(request: Request, leave: Callable[[], None]) -> None:
    # After its body, the only message that a request still brings is that its caller has gone.
    while (await request.receive())["type"] != "http.disconnect":
        pass
    leave()
