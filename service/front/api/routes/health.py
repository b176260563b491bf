"""Whether the process lives, whether it is ready, and its figures."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, Field

from models_registry.errors import Unavailable
from service.front.api.dependencies import TheDrain, TheEngine, TheMetrics
from service.front.api.problems import documented

router = APIRouter(tags=["health"])


class LiveAnswer(BaseModel):
    status: Literal["live"] = Field(description="Always the same.")


class ReadyAnswer(BaseModel):
    """`degraded` names what is away, has failed or is loading, while the rest keeps answering."""

    status: Literal["ready"] = Field(description="Always the same.")
    degraded: list[str] = Field(
        description="What is away, has failed or is loading.", examples=[["the blob store is away"]]
    )
    parts: dict[str, str] | None = Field(
        default=None,
        description="With `verbose`: how each part is.",
        examples=[{"database": "ok", "blobs": "ok", "registry generation": "12", "models ready": "2"}],
    )


@router.get("/health/live", responses=documented())
async def live() -> LiveAnswer:
    """The process answers."""
    return LiveAnswer(status="live")


@router.get("/health/ready", response_model_exclude_none=True, responses=documented(400))
def ready(
    engine: TheEngine,
    drain: TheDrain,
    verbose: Annotated[bool, Query(description="Say how each part is, also in a 503.", examples=[True])] = False,
) -> ReadyAnswer:
    """200 once the database answers and each model that was ready when the service last ran has been ready or has
    failed, or `ADAPTER_SERVICE_READY_GRACE` has passed; else 503, saying why. `degraded` names those that load later.
    """
    if drain.announced:
        raise Unavailable("Not ready: The service is about to shut down.")
    readiness = engine.readiness()
    if not readiness.ready:
        parts = "; ".join(f"{part}: {state}" for part, state in readiness.parts.items())
        raise Unavailable(f"Not ready: {' '.join(readiness.reasons)}{f' ({parts})' if verbose else ''}")
    parts = dict(readiness.parts) if verbose else None
    return ReadyAnswer(status="ready", degraded=list(readiness.degraded), parts=parts)


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {"description": "Prometheus's text format", "content": {"text/plain": {"schema": {"type": "string"}}}},
        **documented(),
    },
)
def metrics(counted: TheMetrics) -> Response:
    """The service's figures, for Prometheus to scrape."""
    return Response(counted.text(), media_type=CONTENT_TYPE_LATEST)
