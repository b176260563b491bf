"""What the protocol's callers ask before they infer: whether a server and a model are ready, and what it takes."""

from importlib.metadata import version
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from models_registry.errors import Unavailable
from service.front.api.dependencies import ModelId, TheDrain, TheEngine
from service.front.api.v2.errors import documented
from service.front.api.v2.tensor_metadata import TensorMetadata, inputs_of, outputs_of
from service.front.engine import Engine
from service.front.requests import ModelStatus

router = APIRouter(tags=["v2"])

Reference = Annotated[
    str, Path(min_length=1, max_length=257, description="A reference of an adapter on it.", examples=["tone@prod"])
]
EXTENSIONS = ["binary_tensor_data"]
PLATFORM = "pytorch_module"


class ServerLive(BaseModel):
    live: bool = Field(description="Always true.", examples=[True])


class ServerReady(BaseModel):
    ready: bool = Field(description="Always true; where it isn't, the answer is 503.", examples=[True])


class ServerMetadata(BaseModel):
    name: str = Field(description="What answers.", examples=["adapter-service"])
    version: str = Field(description="Its version.", examples=["0.1.0"])
    extensions: list[str] = Field(description="What it speaks besides.", examples=[EXTENSIONS])


class ModelReady(BaseModel):
    name: str = Field(description="The base model's id.", examples=["smollm2"])
    ready: bool = Field(description="Always true; where it isn't, the answer is 503.", examples=[True])


class ModelMetadata(BaseModel):
    """`inputs` and `outputs` are those that are known of the model; there may be others. -1 is any size."""

    name: str = Field(description="The base model's id.", examples=["smollm2"])
    versions: list[str] = Field(
        description="The references that may stand in the place of a version; besides them each adapter's `name@3`.",
        examples=[["tone", "tone@prod"]],
    )
    platform: str = Field(description="What runs it.", examples=[PLATFORM])
    inputs: list[TensorMetadata] = Field(description="What it can be called with, in one way or the other.")
    outputs: list[TensorMetadata] = Field(description="What it answers with, as its task says.")


@router.get("/v2", responses=documented())
async def describe_protocol_server() -> ServerMetadata:
    """What answers here."""
    return ServerMetadata(name="adapter-service", version=version("adapter-service"), extensions=EXTENSIONS)


@router.get("/v2/health/live", responses=documented())
async def find_protocol_server_live() -> ServerLive:
    """The process answers."""
    return ServerLive(live=True)


@router.get("/v2/health/ready", responses=documented())
def find_protocol_server_ready(engine: TheEngine, drain: TheDrain) -> ServerReady:
    """As `/health/ready`."""
    readiness = engine.readiness()
    if drain.announced or not readiness.ready:
        raise Unavailable(f"Not ready: {' '.join(readiness.reasons) or 'the service is about to shut down.'}")
    return ServerReady(ready=True)


@router.get("/v2/models/{model_id}", responses=documented(404))
def describe_protocol_model(model_id: ModelId, engine: TheEngine) -> ModelMetadata:
    """What a base model takes and answers, as far as that is known."""
    versions = [name.id for name in engine.names.all() if name.parent == model_id]
    return _describe(engine, engine.models.find(model_id), versions)


@router.get("/v2/models/{model_id}/versions/{reference}", responses=documented(404))
def describe_protocol_version(model_id: ModelId, reference: Reference, engine: TheEngine) -> ModelMetadata:
    """The same of a base model with an adapter."""
    exact = engine.names.find(f"{model_id}/{reference}").root
    return _describe(engine, engine.models.find(model_id), list(dict.fromkeys([reference, exact])))


@router.get("/v2/models/{model_id}/ready", responses=documented(404))
def find_protocol_model_ready(model_id: ModelId, engine: TheEngine) -> ModelReady:
    """200 while it answers; 503 while it doesn't, saying what it is at."""
    return _ready(engine.models.find(model_id))


@router.get("/v2/models/{model_id}/versions/{reference}/ready", responses=documented(404))
def find_protocol_version_ready(model_id: ModelId, reference: Reference, engine: TheEngine) -> ModelReady:
    """The same, and that there is such a version of an adapter."""
    status = engine.models.find(model_id)
    engine.names.find(f"{model_id}/{reference}")
    return _ready(status)


def _ready(status: ModelStatus) -> ModelReady:
    if status.state != "ready":
        why = f": {status.reason}" if status.reason else "."
        raise Unavailable(f"The base model {status.base.id!r} is not ready but {status.state}{why}")
    return ModelReady(name=status.base.id, ready=True)


def _describe(engine: Engine, status: ModelStatus, versions: list[str]) -> ModelMetadata:
    architecture = None if status.base.fingerprint is None else engine.models.modules(status.base.id).architecture
    return ModelMetadata(
        name=status.base.id,
        versions=versions,
        platform=PLATFORM,
        inputs=inputs_of(status, architecture),
        outputs=outputs_of(status),
    )
