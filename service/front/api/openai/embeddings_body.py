"""What is asked of `/v1/embeddings`."""

from typing import Any, Literal, cast

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from models_registry.errors import Invalid
from models_registry.inputs.values import Inputs, OutputValue
from models_registry.records import Fault
from service.front.api.infer_body import Choice, Composition
from service.front.api.openai.given_texts import GivenTexts
from service.front.api.openai.places import Places
from service.front.api.openai.text_request import IGNORED
from service.front.requests import AdapterChoices

NO_ENCODER = "This base model gives no embeddings: name one with the task feature-extraction, or an adapter on one."


class EmbeddingsBody(BaseModel):
    """`user` is ignored; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    model: str = Field(
        min_length=1,
        max_length=513,
        description="A reference of an adapter, or a base model's id; `model/reference` is the adapter in any case.",
        examples=["minilm", "tone@prod"],
    )
    input: str | list[str] | list[int] | list[list[int]] = Field(
        description="A text, or several; each as a string, or as the model's own token ids.",
        examples=["Why is the sea salty?"],
    )
    adapter: Composition | list[Choice] | None = Field(
        default=None,
        description="Where `model` is a base model: a composition `{reference: weight}`, or a list with a choice for "
        "each text.",
        examples=[["tone@prod", None]],
    )
    encoding_format: Literal["float", "base64"] | None = Field(
        default=None, description="Numbers, or their bytes (little-endian float32) in base64.", examples=["float"]
    )
    dimensions: int | None = Field(
        default=None, ge=1, description="Only so many of the first numbers, at length 1 again.", examples=[256]
    )

    @model_validator(mode="before")
    @classmethod
    def _drop_ignored(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        given = cast(dict[Any, Any], value)
        return {name: item for name, item in given.items() if name not in IGNORED and item is not None}

    @property
    def places(self) -> Places:
        return Places("input", GivenTexts.of(self.input).is_list, without_outputs=NO_ENCODER)

    @property
    def choices(self) -> AdapterChoices:
        return tuple(self.adapter) if isinstance(self.adapter, list) else self.adapter

    def inputs(self) -> Inputs:
        """Raises `Invalid`."""
        return GivenTexts.of(self.input).inputs("input", "embed")

    def shortened(self, embeddings: OutputValue) -> Tensor:
        """Float32 [texts, dimensions]. Raises `Invalid` for more dimensions than there are."""
        assert isinstance(embeddings, Tensor)
        vectors = embeddings.detach().cpu().float()
        width = vectors.shape[1]
        if self.dimensions is None or self.dimensions == width:
            return vectors
        if self.dimensions > width:
            message = f"is {self.dimensions}, and the model gives {width}"
            raise Invalid("The embeddings can't be made longer.", [Fault(("dimensions",), message)])
        first = vectors[:, : self.dimensions]
        return first / torch.linalg.vector_norm(first, dim=1, keepdim=True).clamp_min(torch.finfo(first.dtype).tiny)
