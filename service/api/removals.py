"""Removing adapters and single versions, at once or when the requests that use them are done."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, cast

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends, Path, Query, Request

from service.api.dependencies import AdapterName, TheEngine
from service.api.problems import documented

router = APIRouter(tags=["adapters"])

Drain = Annotated[
    bool,
    Query(
        description="Its aliases go with it, and this process's running requests are waited for, at most 30 seconds "
        "(then 409, and nothing was changed); new ones are answered as if it were gone. Another process's requests "
        "finish with what they hold."
    ),
]
VersionNumber = Annotated[int, Path(ge=1, lt=2**31, description="A version's number.")]


async def _drains(request: Request) -> CapacityLimiter:
    return cast(CapacityLimiter, request.app.state.drains)


# A drain holds a thread while it waits. These are few, and others': the ones that serve everyone are left alone.
TheDrains = Annotated[CapacityLimiter, Depends(_drains)]


@router.delete("/adapters/{name}", status_code=204, responses=documented(400, 404, 409, 507))
async def remove_adapter(name: AdapterName, engine: TheEngine, drains: TheDrains, drain: Drain = False) -> None:
    """Remove an adapter with all its versions; 409 while requests use it or an alias of it is left."""
    await _run(partial(engine.adapters.remove, name, drain), drains if drain else None)


@router.delete("/adapters/{name}/versions/{version}", status_code=204, responses=documented(400, 404, 409, 507))
async def remove_version(
    name: AdapterName, version: VersionNumber, engine: TheEngine, drains: TheDrains, drain: Drain = False
) -> None:
    """Remove one version; 409 while requests use it or an alias points to it, and if it is the only one, for then the
    adapter itself is to be removed. Its number is never given again."""
    await _run(partial(engine.adapters.remove_version, name, version, drain), drains if drain else None)


async def _run(removal: Callable[[], None], threads: CapacityLimiter | None) -> None:
    await to_thread.run_sync(removal, limiter=threads)
