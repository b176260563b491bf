"""What is asked of `/v1/completions`: texts to be continued as they stand."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from models_registry.call_forms import CallForm
from models_registry.inputs.values import Inputs
from service.front.api.openai.completion_writer import CompletionWriter
from service.front.api.openai.given_texts import GivenTexts
from service.front.api.openai.places import Places
from service.front.api.openai.response_format import ResponseFormat
from service.front.api.openai.writing_body import THEIR_NAMES, WritingBody


class CompletionBody(WritingBody):
    PREFIX: ClassVar[str] = "cmpl-"
    LENGTH: ClassVar[int] = 16
    CHAT: ClassVar[bool | None] = False

    prompt: str | list[str] | list[int] | list[list[int]] = Field(
        description="A text, or several; each as a string, or as the model's own token ids.",
        examples=["Once upon a time"],
    )
    logprobs: int | None = Field(
        default=None,
        ge=0,
        description="Each token's probability, with so many of the most probable ones in its place.",
        examples=[0],
    )
    response_format: ResponseFormat | None = Field(
        default=None, description="The form of the text.", examples=[{"type": "json_object"}]
    )
    echo: Literal[False] | None = Field(default=None, description="Only false: the prompt isn't returned.")
    best_of: Literal[1] | None = Field(default=None, description="Only 1: choose among `n` texts yourself.")
    suffix: Literal[""] | None = Field(default=None, description="Only empty: texts are continued at their end.")

    def inputs(self) -> Inputs:
        return GivenTexts.of(self.prompt).inputs("prompt", "continue", self.count)

    @property
    def places(self) -> Places:
        return Places("prompt", GivenTexts.of(self.prompt).is_list, self.count, THEIR_NAMES)

    def writer(self, head: Mapping[str, Any], call_form: CallForm) -> CompletionWriter:
        return CompletionWriter(head, self.count, self.reports_usage)

    def _own_parameters(self) -> dict[str, Any]:
        form = None if self.response_format is None else self.response_format.constraint()
        asked = self.logprobs is not None
        return {"constraint": form, "logprobs": asked or None, "top_logprobs": self.logprobs}
