"""What is asked of `/v1/completions`: texts to be continued as they stand."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from models_registry.call_forms import CallForm
from models_registry.errors import Invalid
from models_registry.inputs.values import Inputs
from models_registry.records import Fault
from service.front.api.openai.completion_writer import CompletionWriter
from service.front.api.openai.places import Places
from service.front.api.openai.response_format import ResponseFormat
from service.front.api.openai.writing_body import THEIR_NAMES, WritingBody

MOST_TOKENS = 2**31


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
        texts = [prompt for prompt in self._prompts if isinstance(prompt, str)]
        rows = [tuple(prompt) for prompt in self._prompts if isinstance(prompt, list)]
        if not texts and not all(rows or [()]):
            message = "must be a text, or a list of texts, each as a string or as token ids, at least one"
            raise Invalid("There is no text to continue.", [Fault(("prompt",), message)])
        if any(not 0 <= id < MOST_TOKENS for row in rows for id in row):
            message = f"has a token id that no model has: they are from 0 to {MOST_TOKENS - 1}"
            raise Invalid("These are no token ids.", [Fault(("prompt",), message)])
        return Inputs(
            texts=tuple(text for text in texts for _ in range(self.count)),
            tokens=tuple(row for row in rows for _ in range(self.count)),
        )

    @property
    def places(self) -> Places:
        is_one = isinstance(self.prompt, str) or len(self._prompts) != len(self.prompt)
        return Places("prompt", not is_one, self.count, THEIR_NAMES)

    @property
    def _prompts(self) -> Sequence[str | list[int]]:
        """One for each text."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        ids = [entry for entry in self.prompt if isinstance(entry, int)]
        return [ids] if ids else [entry for entry in self.prompt if not isinstance(entry, int)]

    def writer(self, head: Mapping[str, Any], call_form: CallForm) -> CompletionWriter:
        return CompletionWriter(head, self.count, self.reports_usage)

    def _own_parameters(self) -> dict[str, Any]:
        form = None if self.response_format is None else self.response_format.constraint()
        asked = self.logprobs is not None
        return {"constraint": form, "logprobs": asked or None, "top_logprobs": self.logprobs}
