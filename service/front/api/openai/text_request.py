"""What every request for text has, whichever of OpenAI's forms it is in: whose text, and how it is returned."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, cast

from pydantic import BaseModel, ConfigDict, Field, model_validator

from models_registry.call_forms import CallForm
from models_registry.inputs.values import Inputs
from service.front.api.infer_body import Composition
from service.front.api.openai.places import Places
from service.front.api.openai.writer import Writer

# Of OpenAI's and without any influence on a text: who asks, what is kept or cached on their side, how fast it comes.
IGNORED = frozenset(
    {
        "metadata",
        "moderation",
        "parallel_tool_calls",
        "prediction",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
        "user",
    }
)


class TextRequest(BaseModel, ABC):
    """Fields in `IGNORES`, and those that are null, are as if they weren't there; unknown ones are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    PREFIX: ClassVar[str]
    """Of the answers' ids."""
    CHAT: ClassVar[bool | None]
    """Whether its texts are turns of a chat."""
    IGNORES: ClassVar[frozenset[str]] = IGNORED

    model: str = Field(
        min_length=1,
        max_length=513,
        description="A reference of an adapter, or a base model's id; `model/reference` is the adapter in any case.",
        examples=["pirate", "pirate@3", "pirate@prod", "smollm2", "smollm2/pirate"],
    )
    adapter: Composition | None = Field(
        default=None,
        description="A composition `{reference: weight}`, where `model` is a base model.",
        examples=[{"pirate": 0.7, "poet": 0.3}],
    )
    stream: bool | None = Field(
        default=None, description="Whether the texts are sent as events while they are written.", examples=[True]
    )

    @model_validator(mode="before")
    @classmethod
    def _drop_ignored(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        given = cast(dict[Any, Any], value)
        return {name: item for name, item in given.items() if name not in cls.IGNORES and item is not None}

    @property
    @abstractmethod
    def places(self) -> Places:
        """Where in it what is found wrong stands."""

    @abstractmethod
    def inputs(self) -> Inputs:
        """A row for each text that is to be written. Raises `Invalid`."""

    @abstractmethod
    def parameters(self) -> dict[str, Any]:
        """As ours, without those that nobody gave. Raises `Invalid`."""

    @abstractmethod
    def writer(self, head: Mapping[str, Any], call_form: CallForm) -> Writer:
        """What writes its answers, which have `head` in common: id, created, model, system_fingerprint. Calls of tools
        have the `call_form`."""
