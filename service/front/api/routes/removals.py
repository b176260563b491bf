"""Removing adapters and single versions, at once or when the requests that use them are done."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, cast

from anyio import to_thread
from fastapi import APIRouter, Depends, Query, Request

from service.front.admission.team_threads import TeamThreads
from service.front.api.dependencies import AdapterName, PathVersion, Reason, TheEngine
from service.front.api.problems import documented

router = APIRouter(tags=["adapters"])

DrainQuery = Annotated[
    bool,
    Query(
        examples=[True],
        description="Its aliases go with it, and this process's running requests are waited for, at most 30 seconds "
        "(then 409, and nothing was changed); new ones are answered as if it were gone. Another process's requests "
        "finish with what they hold.",
    ),
]


async def _threads(request: Request) -> TeamThreads:
    return cast(TeamThreads, request.app.state.removals)


# A removal holds a thread while it waits. These are a few of its own, so that those which serve everyone stay free.
TheThreads = Annotated[TeamThreads, Depends(_threads)]


@router.delete("/adapters/{name}", status_code=204, responses=documented(400, 404, 409, 507), dependencies=[Reason])
async def remove_adapter(name: AdapterName, engine: TheEngine, threads: TheThreads, drain: DrainQuery = False) -> None:
    """Remove an adapter with all its versions; 409 while requests use it or an alias of it is left."""
    await _run(partial(engine.adapters.remove, name, drain), threads if drain else None)


@router.delete(
    "/adapters/{name}/versions/{version}",
    status_code=204,
    responses=documented(400, 404, 409, 507),
    dependencies=[Reason],
)
async def remove_version(
    name: AdapterName, version: PathVersion, engine: TheEngine, threads: TheThreads, drain: DrainQuery = False
) -> None:
    """Remove one version; 409 while requests use it or an alias points to it, and if it is the only one, for then the
    adapter itself is to be removed. Its number is never given again."""
    await _run(partial(engine.adapters.remove_version, name, version, drain), threads if drain else None)


async def _run(remove: Callable[[], None], threads: TeamThreads | None) -> None:
    await (to_thread.run_sync(remove) if threads is None else threads.run(remove))
