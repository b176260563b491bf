"""What a team says of its adapter, as a caller sends it."""

from typing import Annotated, Final, cast

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from models_registry.records import AdapterWords, Visibility
from service.front.api.dependencies import TheSettings
from service.front.api.http.bodies import JSON, media_type_of, read_json

Label = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._/-]{0,62}[A-Za-z0-9])?$")]
LabelValue = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?)?$")]
MOST_LABELS: Final = 64


class AdapterWordsBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    visibility: Visibility = Field(
        default="private", description="`shared` lets other teams see and use it, as `team:name`.", examples=["shared"]
    )
    description: str | None = Field(
        default=None, max_length=10_000, description="Its team's own words.", examples=["answers as a pirate would"]
    )
    owner: str | None = Field(
        default=None, max_length=128, description="Whom to ask.", examples=["data-science@example.org"]
    )
    labels: dict[Label, LabelValue] = Field(
        default={},
        max_length=MOST_LABELS,
        description="Words for finding it, as Kubernetes has them; they replace all that it had.",
        examples=[{"stage": "prod", "lang": "de"}],
    )

    @property
    def words(self) -> AdapterWords:
        """Those that were sent."""
        return cast(AdapterWords, {name: getattr(self, name) for name in self.model_fields_set})


class VersionWordsBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    labels: dict[Label, LabelValue] = Field(
        max_length=MOST_LABELS,
        description="Words for finding it, as Kubernetes has them; they replace all that it had.",
        examples=[{"stage": "canary"}],
    )


async def read_version_words(request: Request, settings: TheSettings) -> VersionWordsBody:
    media_type_of(request, JSON)
    return await read_json(VersionWordsBody, request, settings.max_json_bytes)


async def read_words(request: Request, settings: TheSettings) -> AdapterWordsBody:
    media_type_of(request, JSON)
    return await read_json(AdapterWordsBody, request, settings.max_json_bytes)
