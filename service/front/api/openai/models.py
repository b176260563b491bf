"""`GET /v1/models`: every name that `model` may be, base models, adapters and aliases alike."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from service.front.api.dependencies import TheEngine
from service.front.api.openai.error_bodies import documented
from service.front.resolution.model_names import ModelName

router = APIRouter(tags=["openai"])

OWNER = "adapter-service"


class NamedModel(BaseModel):
    """`root` and `parent` are vLLM's: what the name means now, and an adapter's base model."""

    id: str = Field(description="What `model` may be.", examples=["pirate", "pirate@prod", "smollm2"])
    object: Literal["model"] = Field(description="What this is.")
    created: int = Field(description="When, in seconds since 1970.", examples=[1796000000])
    owned_by: str = Field(description="Who offers it.", examples=[OWNER])
    root: str = Field(description="The exact version that it means now, or the base model.", examples=["pirate@3"])
    parent: str | None = Field(description="An adapter's base model.", examples=["smollm2"])


class NamedModels(BaseModel):
    object: Literal["list"] = Field(description="What this is.")
    data: list[NamedModel] = Field(description="Base models first, then adapters, each with its aliases.")


@router.get("/v1/models", responses=documented())
def list_named_models(engine: TheEngine) -> NamedModels:
    """Every name that `model` may be, but for those of single versions (`pirate@3`)."""
    return NamedModels(object="list", data=list(map(_show, engine.names.all())))


@router.get("/v1/models/{model}", responses=documented(404))
def find_named_model(
    model: Annotated[str, Path(description="A base model's id, or a reference.", examples=["pirate@prod"])],
    engine: TheEngine,
) -> NamedModel:
    """What a name means now."""
    return _show(engine.names.find(model))


@router.get("/v1/models/{model}/{reference}", responses=documented(404))
def find_named_adapter(
    model: Annotated[str, Path(description="A base model's id.", examples=["smollm2"])],
    reference: Annotated[str, Path(description="A reference of an adapter on it.", examples=["pirate@prod"])],
    engine: TheEngine,
) -> NamedModel:
    """What an adapter's reference means now."""
    return _show(engine.names.find(f"{model}/{reference}"))


def _show(name: ModelName) -> NamedModel:
    return NamedModel(
        id=name.id,
        object="model",
        created=int(name.created_at.timestamp()),
        owned_by=OWNER,
        root=name.root,
        parent=name.parent,
    )
