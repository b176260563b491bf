"""Callers who leave before they have their answer: what is done for them ends, rather than goes on for nobody."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from starlette.requests import ClientDisconnect, Request


@asynccontextmanager
async def while_there(request: Request) -> AsyncGenerator[None]:
    """Cancels what is awaited inside once the caller has gone, and raises `ClientDisconnect`. The request's body must
    have been read."""
    scope = asyncio.timeout(None)
    watching = asyncio.create_task(_watch(request, scope))
    try:
        async with scope:
            yield
    except TimeoutError as error:
        if scope.expired():
            raise ClientDisconnect from error
        raise
    finally:
        watching.cancel()


async def _watch(request: Request, scope: asyncio.Timeout) -> None:
    # After its body, the only message that a request still brings is that its caller has gone.
    while (await request.receive())["type"] != "http.disconnect":
        pass
    scope.reschedule(0.0)
