"""How many replicas a base model has, and what each is given, as callers write and read it."""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from models_registry.records import ReplicaResources

MOST_REPLICAS = 10_000


class ResourcesBody(BaseModel):
    """On several machines. On one a model has one process, and these are kept without an effect."""

    model_config = ConfigDict(extra="forbid")

    min_replicas: int = Field(
        default=1, ge=1, le=MOST_REPLICAS, strict=True, description="As many there are at least.", examples=[1]
    )
    max_replicas: int = Field(
        default=1,
        ge=1,
        le=MOST_REPLICAS,
        strict=True,
        description="As many there may be, while rows and texts wait.",
        examples=[4],
    )
    cpus: float | None = Field(
        default=None, gt=0, le=4096, allow_inf_nan=False, description="Cores that each is given.", examples=[2.0]
    )
    gpus: float | None = Field(
        default=None,
        ge=0,
        le=1024,
        allow_inf_nan=False,
        description="GPUs that each is given; half a one shares it.",
        examples=[1.0],
    )
    memory_bytes: int | None = Field(
        default=None, gt=0, le=1 << 60, strict=True, description="Memory that each is given.", examples=[8589934592]
    )

    @model_validator(mode="after")
    def _has_room(self) -> Self:
        if self.max_replicas < self.min_replicas:
            raise ValueError(f"max_replicas is below min_replicas, {self.min_replicas}; it may be no less")
        return self

    def resources(self) -> ReplicaResources:
        return ReplicaResources(self.min_replicas, self.max_replicas, self.cpus, self.gpus, self.memory_bytes)


def show_resources(resources: ReplicaResources | None) -> ResourcesBody | None:
    return resources and ResourcesBody(
        min_replicas=resources.min_replicas,
        max_replicas=resources.max_replicas,
        cpus=resources.cpus,
        gpus=resources.gpus,
        memory_bytes=resources.memory_bytes,
    )
