"""Where an adapter acts and how strongly, and what changed between two of its versions."""

from functools import partial
from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, Field

from models_registry.adapters.strength import Strength, TargetDifference
from service.front.access.names import shown
from service.front.admission.team_threads import TeamThreads
from service.front.api.dependencies import TheEngine
from service.front.api.problems import documented
from service.front.api.routes.states import ReferenceQuery

router = APIRouter(tags=["adapters"])


class StrengthAnswer(BaseModel):
    """Frobenius norm of what is added to a target's weight, for IA3 of its vector less one."""

    target: str = Field(description="The module.", examples=["model.layers.0.self_attn.q_proj"])
    norm: float = Field(description="How much it adds there.", examples=[1.25])
    effective_rank: float | None = Field(
        description="In how many directions: the exponential of the singular values' entropy. Null for IA3, for no "
        "change, and for ranks above 256.",
        examples=[5.7],
    )


class StrengthsAnswer(BaseModel):
    reference: str = Field(description="The exact version.", examples=["pirate@3"])
    digest: str = Field(description="The sha256 of its stored state dict.", examples=[f"sha256:{'1f' * 32}"])
    targets: list[StrengthAnswer] = Field(description="In the model's order.")


class TargetDifferenceAnswer(BaseModel):
    target: str = Field(description="The module.", examples=["model.layers.0.self_attn.q_proj"])
    before: StrengthAnswer | None = Field(
        title="Before",
        description="Null where the earlier one doesn't act.",
        examples=[{"target": "model.layers.0.self_attn.q_proj", "norm": 1.1, "effective_rank": 5.2}],
    )
    after: StrengthAnswer | None = Field(
        title="After",
        description="Null where the later one doesn't act.",
        examples=[{"target": "model.layers.0.self_attn.q_proj", "norm": 1.25, "effective_rank": 5.7}],
    )
    change: float = Field(description="The norm of the difference of what both add.", examples=[0.31])
    cosine: float | None = Field(
        description="1 where both point the same way; null where one of them adds nothing.", examples=[0.97]
    )


class ConfigChange(BaseModel):
    before: Any = Field(description="Null: it had none.", examples=[8])
    after: Any = Field(description="Null: it has none.", examples=[16])


class DifferenceAnswer(BaseModel):
    before: str = Field(description="The exact version.", examples=["pirate@2"])
    after: str = Field(description="The exact version.", examples=["pirate@3"])
    config: dict[str, ConfigChange] = Field(
        description="The keys whose values differ.", examples=[{"lora_alpha": {"before": 8, "after": 16}}]
    )
    targets: list[TargetDifferenceAnswer] = Field(description="In the model's order.")


async def _thread(request: Request) -> TeamThreads:
    return cast(TeamThreads, request.app.state.differences)


# One at a time: it reads whole adapters and computes with them, beside the models.
TheThread = Annotated[TeamThreads, Depends(_thread)]
Compared = Annotated[
    str | None,
    Query(
        max_length=386,
        description="A reference to compare with; by default the version before it.",
        examples=["pirate@2", "pirate@prod"],
    ),
]


@router.get("/adapters/{name}/strength", responses=documented(400, 404, 409, 422))
async def get_strength(reference: ReferenceQuery, engine: TheEngine, thread: TheThread) -> StrengthsAnswer:
    """Where a version acts, and how strongly."""
    version, found = await thread.run(partial(engine.differences.strengths, reference))
    targets = [_strength(strength) for strength in found]
    return StrengthsAnswer(reference=shown(version.reference), digest=f"sha256:{version.digest}", targets=targets)


@router.get("/adapters/{name}/diff", responses=documented(400, 404, 409, 422))
async def get_difference(
    reference: ReferenceQuery, engine: TheEngine, thread: TheThread, before: Compared = None
) -> DifferenceAnswer:
    """What changed since another version: keys of the config, and what each target adds. `version` or `alias` choose
    the later one, the newest by default."""
    found = await thread.run(partial(engine.differences.between, before, reference))
    return DifferenceAnswer(
        before=shown(found.before.reference),
        after=shown(found.after.reference),
        config={key: ConfigChange(before=old, after=new) for key, (old, new) in found.config.items()},
        targets=[_difference(difference) for difference in found.targets],
    )


def _strength(strength: Strength) -> StrengthAnswer:
    return StrengthAnswer(target=strength.target, norm=strength.norm, effective_rank=strength.effective_rank)


def _difference(found: TargetDifference) -> TargetDifferenceAnswer:
    return TargetDifferenceAnswer(
        target=found.target,
        before=found.before and _strength(found.before),
        after=found.after and _strength(found.after),
        change=found.change,
        cosine=found.cosine,
    )
