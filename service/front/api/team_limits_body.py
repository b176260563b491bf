"""A team's limits as JSON, in both directions."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from models_registry.teams import TeamLimits

Count = Annotated[int, Field(ge=0, lt=2**63, strict=True)]


class TeamLimitsBody(BaseModel):
    """What is null or left out has no limit."""

    model_config = ConfigDict(extra="forbid")

    adapters: Count | None = Field(default=None, description="How many adapters it has at most.", examples=[100])
    stored_bytes: Count | None = Field(
        default=None,
        description="Bytes of the distinct blobs that its adapters' versions name.",
        examples=[10_000_000_000],
    )
    resident_share: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = Field(
        default=None, description="Which part of each base model's memory for adapters it fills.", examples=[0.25]
    )
    requests_per_minute: Count | None = Field(default=None, description="Inference calls.", examples=[600])
    tokens_per_minute: Count | None = Field(
        default=None, description="Tokens of its prompts and of the texts that are written for it.", examples=[100_000]
    )
    rows_in_flight: Count | None = Field(
        default=None, description="Rows that wait or run at a time, texts included.", examples=[256]
    )
    sequences_in_flight: Count | None = Field(
        default=None, description="Texts that wait or are written at a time.", examples=[32]
    )
    request_bytes: Count | None = Field(
        default=None, description="Bytes of one request's body, uploads included.", examples=[16_777_216]
    )

    def as_limits(self) -> TeamLimits:
        return TeamLimits(**self.model_dump())
