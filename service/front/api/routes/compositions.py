"""Composition: stored adapters merged into a new one, which from then on is an adapter like any other."""

from typing import Annotated, cast

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from models_registry.adapters.merge_options import CompositionMethod, MergeOptions
from service.front.access.names import stored_own
from service.front.admission.team_threads import TeamThreads
from service.front.api.adapter_answers import CreatedAnswer, show_created
from service.front.api.dependencies import ModelId, Name, TheEngine, TheSettings
from service.front.api.http.bodies import JSON, media_type_of, read_json, reads
from service.front.api.http.client_disconnect import CallerLeft
from service.front.api.http.idempotency import IdempotencyKey, asked_once
from service.front.api.infer_body import Composition
from service.front.api.problems import documented
from service.front.requests import NewComposition

router = APIRouter(tags=["adapters"])


class CompositionBody(BaseModel):
    """`cat` adds exactly, at the sum of the ranks; `svd` is the nearest of `rank`; the others work on A and B apart."""

    model_config = ConfigDict(extra="forbid")

    name: Name = Field(description="Of the new adapter.", examples=["both"])
    adapters: Composition = Field(
        description="Stored adapters of this model, `{reference: weight}`; a negative weight subtracts.",
        examples=[{"tone@2": 0.7, "style": 0.3}],
    )
    method: CompositionMethod = Field(
        description="`cat` adds exactly, `svd` to a rank; the others as PEFT computes them.", examples=["svd"]
    )
    density: float | None = Field(
        default=None,
        strict=True,
        gt=0,
        le=1,
        description="The share of numbers that `ties` and `dare_*` keep.",
        examples=[0.5],
    )
    rank: int | None = Field(
        default=None,
        strict=True,
        gt=0,
        description="Of the result, for `svd`; by default the greatest of the ranks.",
        examples=[8],
    )
    seed: int | None = Field(
        default=None,
        strict=True,
        ge=0,
        lt=2**63,
        description="Makes what `dare_*` draws the same each time.",
        examples=[1],
    )


async def _read_composition(request: Request, settings: TheSettings) -> CompositionBody:
    media_type_of(request, JSON)
    return await read_json(CompositionBody, request, settings.max_json_bytes)


@router.post(
    "/models/{model_id}/adapters/compose",
    status_code=201,
    responses=documented(400, 404, 409, 413, 415, 422, 507),
    openapi_extra=reads({JSON: CompositionBody}),
)
async def compose_adapter(
    model_id: ModelId,
    body: Annotated[CompositionBody, Depends(_read_composition)],
    engine: TheEngine,
    request: Request,
    response: Response,
    stopped: CallerLeft,
    key: IdempotencyKey = None,
) -> CreatedAnswer:
    """Store a merge of low-rank adapters as a new adapter: version 1 of `name`, a plain LoRA."""
    options = MergeOptions(body.method, body.density, body.rank, body.seed)
    new = NewComposition(model_id, stored_own(body.name), body.adapters, options, stopped)
    # A merge may take minutes, in threads of its own: those that serve everyone stay free.
    threads = cast(TeamThreads, request.app.state.compositions)
    created = await threads.run(lambda: engine.adapters.compose(new, asked_once(key, request, body)))
    response.headers["Location"] = f"/adapters/{body.name}"
    return show_created(created)
