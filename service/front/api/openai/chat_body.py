"""What is asked of `/v1/chat/completions`."""

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from models_registry.call_forms import CallForm
from models_registry.errors import Invalid
from models_registry.inputs.chats import decode_chats
from models_registry.inputs.values import Inputs
from models_registry.records import Fault
from service.front.api.openai.chat_writer import ChatWriter
from service.front.api.openai.places import Places
from service.front.api.openai.response_format import ResponseFormat
from service.front.api.openai.tool_call_reader import ToolCallReader
from service.front.api.openai.tools import Tool, ToolChoice, call_constraint
from service.front.api.openai.writing_body import THEIR_NAMES, WritingBody


class ChatBody(WritingBody):
    PREFIX: ClassVar[str] = "chatcmpl-"
    LENGTH: ClassVar[int] = 4096
    CHAT: ClassVar[bool | None] = None

    messages: list[dict[str, Any]] = Field(
        description="The chat so far: `{role, content}`, `tool_calls` of the assistant, `tool_call_id` of a tool.",
        examples=[[{"role": "user", "content": "Tell me about the sea."}]],
    )
    max_completion_tokens: int | None = Field(
        default=None, description="How many tokens to write at most; as many as fit, up to 4096.", examples=[256]
    )
    logprobs: bool | None = Field(
        default=None, description="Whether each token is returned with its probability.", examples=[False]
    )
    top_logprobs: int | None = Field(
        default=None, description="So many of the most probable tokens in each place.", examples=[0]
    )
    response_format: ResponseFormat | None = Field(
        default=None, description="The form of the text.", examples=[{"type": "json_object"}]
    )
    tools: list[Tool] | None = Field(default=None, description="Functions that the model may call.")
    tool_choice: ToolChoice | None = Field(
        default=None, description="Whether it must call one, and which.", examples=["auto"]
    )
    modalities: list[Literal["text"]] | None = Field(default=None, description="Text is all there is.")

    @field_validator("top_logprobs")
    @classmethod
    def _beside_logprobs(cls, most: int | None, others: ValidationInfo) -> int | None:
        if most and not others.data.get("logprobs"):
            raise ValueError("needs logprobs: true")
        return most

    @property
    def may_call(self) -> bool:
        return bool(self.tools) and self.tool_choice != "none"

    @property
    def must_call(self) -> bool:
        return self.may_call and self.tool_choice not in (None, "auto")

    def inputs(self) -> Inputs:
        tools = [tool.model_dump(exclude_none=True) for tool in self.tools or ()] if self.may_call else []
        chats = decode_chats([self.messages], ("inputs", "messages"))
        return Inputs(chats=chats * self.count, tools=tuple(tools))

    @property
    def places(self) -> Places:
        names = {**THEIR_NAMES, "constraint": "tools" if self.must_call else "response_format"}
        if self.max_completion_tokens is not None:
            names["max_new_tokens"] = "max_completion_tokens"
        return Places("messages", parameters=names)

    def writer(self, head: Mapping[str, Any], call_form: CallForm) -> ChatWriter:
        return ChatWriter(head, self.count, self.reports_usage, partial(self.call_reader, call_form))

    def call_reader(self, call_form: CallForm) -> ToolCallReader:
        """What finds the calls in one of its texts."""
        return ToolCallReader(call_form, reads_calls=self.may_call, is_call=self.must_call)

    @property
    def _length(self) -> int | None:
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    def _own_parameters(self) -> dict[str, Any]:
        called = call_constraint(self.tools or (), self.tool_choice)
        form = None if self.response_format is None else self.response_format.constraint()
        if called is not None and form is not None:
            message = "can't be held to together with a required tool call"
            raise Invalid("A text has one form.", [Fault(("response_format",), message)])
        return {
            "constraint": called or form,
            "logprobs": self.logprobs or None,
            "top_logprobs": self.top_logprobs if self.logprobs else None,
        }
