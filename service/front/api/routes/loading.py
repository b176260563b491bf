"""Adapters into a model's memory and out of it, ahead of their requests."""

from functools import partial
from typing import Annotated, cast

from fastapi import APIRouter, Depends, Query, Request, Response

from service.front.admission.team_threads import TeamThreads
from service.front.api.adapter_answers import AdapterAnswer, show_adapter
from service.front.api.dependencies import AdapterName, ModelId, TheEngine
from service.front.api.problems import documented

router = APIRouter(tags=["adapters"])


async def _loads(request: Request) -> TeamThreads:
    return cast(TeamThreads, request.app.state.loads)


# A load holds a thread until its blob is read. It has few threads of its own, so that those for other calls stay free.
TheLoads = Annotated[TeamThreads, Depends(_loads)]


@router.post("/models/{model_id}/adapters/{name}/load", responses=documented(400, 404, 409, 422, 507))
async def load_adapter(
    model_id: ModelId,
    name: AdapterName,
    engine: TheEngine,
    loads: TheLoads,
    pin: Annotated[
        bool, Query(description="Keep it in memory until it is unloaded or the service ends.", examples=[True])
    ] = False,
    replicas: Annotated[
        int | None,
        Query(ge=1, description="On so many of its model's replicas; by default on all.", examples=[2]),
    ] = None,
) -> AdapterAnswer:
    """Make the newest version resident now, rather than at its first request; 507 where pinned ones leave no room.
    Where its model has replicas on several machines a pin is kept on as many of them, whichever end."""
    return show_adapter(await loads.run(partial(engine.adapters.load, model_id, name, pin, replicas)))


@router.post(
    "/models/{model_id}/adapters/{name}/unload",
    responses={
        202: {
            "model": AdapterAnswer,
            "description": "Still in use; it leaves memory with the last request that uses it",
        },
        **documented(404, 409),
    },
)
def unload_adapter(model_id: ModelId, name: AdapterName, engine: TheEngine, response: Response) -> AdapterAnswer:
    """Unpin every version and free its memory: 200 once it is free, 202 while requests or a forward keep it."""
    status, freed = engine.adapters.unload(model_id, name)
    response.status_code = 200 if freed else 202
    return show_adapter(status)
