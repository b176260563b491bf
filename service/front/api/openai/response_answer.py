"""What `/v1/responses` answers: whole, and as the events of a stream."""

from collections.abc import Mapping
from typing import Any, Literal, Self, TypeAlias

from pydantic import BaseModel, Field, JsonValue

from service.front.api.openai.usage import PromptTokens, TokenUsage
from service.protocol.texts import WrittenText

Status: TypeAlias = Literal["in_progress", "completed", "incomplete"]


class OutputText(BaseModel):
    type: Literal["output_text"] = Field(description="What this is.")
    text: str = Field(description="What was written.", examples=["Yo ho ho!"])
    annotations: list[JsonValue] = Field(description="Always empty.", examples=[[]])
    logprobs: list[JsonValue] = Field(description="Always empty.", examples=[[]])


class OutputMessage(BaseModel):
    id: str = Field(description="Its own id.", examples=["msg_5f0c6f2e8c4b"])
    type: Literal["message"] = Field(description="What this is.")
    role: Literal["assistant"] = Field(description="Who wrote it.")
    status: Status = Field(description="Whether it is finished.")
    content: list[OutputText] = Field(description="One text.")


class OutputCall(BaseModel):
    id: str = Field(description="Its own id.", examples=["fc_5f0c6f2e8c4b"])
    type: Literal["function_call"] = Field(description="What this is.")
    call_id: str = Field(description="What the function's answer names it by.", examples=["call_5f0c6f2e8c4b"])
    name: str = Field(description="The function to call.", examples=["weather"])
    arguments: str = Field(description="Its arguments, as JSON.", examples=['{"place": "Lisbon"}'])
    status: Status = Field(description="Whether it is finished.")


OutputItem: TypeAlias = OutputMessage | OutputCall


class ReasoningTokens(BaseModel):
    reasoning_tokens: int = Field(description="Always 0.", examples=[0])


class ResponseUsage(BaseModel):
    input_tokens: int = Field(description="Tokens of the prompt.", examples=[38])
    input_tokens_details: PromptTokens = Field(title="Input Tokens Details", description="Of the prompt's tokens.")
    output_tokens: int = Field(description="Tokens that were written.", examples=[48])
    output_tokens_details: ReasoningTokens = Field(title="Output Tokens Details", description="Of those.")
    total_tokens: int = Field(description="Both together.", examples=[86])

    @classmethod
    def of(cls, end: WrittenText) -> Self:
        used = TokenUsage.of({0: end}, 1)
        return cls(
            input_tokens=used.prompt_tokens,
            input_tokens_details=used.prompt_tokens_details,
            output_tokens=used.completion_tokens,
            output_tokens_details=ReasoningTokens(reasoning_tokens=0),
            total_tokens=used.total_tokens,
        )


class IncompleteDetails(BaseModel):
    reason: Literal["max_output_tokens"] = Field(description="There was no room for more.")


class ResponseAnswer(BaseModel):
    id: str = Field(description="The answer's own id.", examples=["resp_5f0c6f2e8c4b"])
    object: Literal["response"] = Field(description="What this is.")
    created_at: int = Field(description="When, in seconds since 1970.", examples=[1796000000])
    status: Status = Field(description="`incomplete` where there was no room for more.")
    error: None = Field(description="Always null: an error is an answer of its own.", examples=[None])
    incomplete_details: IncompleteDetails | None = Field(title="Incomplete Details", description="Why not.")
    model: str = Field(description="As the request named it.", examples=["pirate"])
    output: list[OutputItem] = Field(description="The text, and the calls behind it.")
    usage: ResponseUsage | None = Field(title="Usage", description="What it took, once it is written.")
    metadata: dict[str, str] = Field(
        description="The request's, and `system_fingerprint`: the exact version.",
        examples=[{"system_fingerprint": "pirate@1:f3465b11eed0"}],
    )
    instructions: str | None = Field(description="As they were given.", examples=["Be brief."])
    max_output_tokens: int | None = Field(description="As it was given.", examples=[256])
    temperature: float | None = Field(description="As it was given.", examples=[0.7])
    top_p: float | None = Field(description="As it was given.", examples=[0.95])
    text: dict[str, Any] = Field(description="As it was given.", examples=[{"format": {"type": "text"}}])
    tools: list[dict[str, Any]] = Field(description="As they were given.", examples=[[]])
    tool_choice: str | dict[str, Any] = Field(description="As it was given.", examples=["auto"])
    parallel_tool_calls: Literal[True] = Field(description="A text may have several calls.")
    previous_response_id: None = Field(description="Always null.", examples=[None])
    store: Literal[False] = Field(description="Nothing is kept.")
    background: Literal[False] = Field(description="The answer is waited for.")
    truncation: Literal["disabled"] = Field(description="An input that is too long is refused.")

    @classmethod
    def of(cls, asked: Mapping[str, Any], output: list[OutputItem], end: WrittenText | None) -> Self:
        """As far as it is written."""
        cut = end is not None and end.finish_reason == "length"
        return cls(
            object="response",
            status="in_progress" if end is None else "incomplete" if cut else "completed",
            error=None,
            incomplete_details=IncompleteDetails(reason="max_output_tokens") if cut else None,
            output=output,
            usage=None if end is None else ResponseUsage.of(end),
            parallel_tool_calls=True,
            previous_response_id=None,
            store=False,
            background=False,
            truncation="disabled",
            **asked,
        )


class ResponseEvent(BaseModel):
    """The data of one event, which has the name `type`: each has some of the fields, as OpenAI's have."""

    type: str = Field(description="What happened.", examples=["response.output_text.delta"])
    sequence_number: int = Field(description="Events are numbered from 0.", examples=[4])
    response: ResponseAnswer | None = Field(
        default=None,
        title="Response",
        description="With `response.created`, `.in_progress`, `.completed`, `.incomplete`.",
    )
    output_index: int | None = Field(default=None, description="The item's place in `output`.", examples=[0])
    item: OutputItem | None = Field(
        default=None, title="Item", description="With `response.output_item.added` and `.done`."
    )
    item_id: str | None = Field(
        default=None, description="Whose text or arguments these are.", examples=["msg_5f0c6f2e8c4b4f0f9a5a3d1d"]
    )
    content_index: int | None = Field(default=None, description="Always 0.", examples=[0])
    part: OutputText | None = Field(
        default=None, title="Part", description="With `response.content_part.added` and `.done`."
    )
    delta: str | None = Field(default=None, description="What was written since.", examples=["Yo ho "])
    text: str | None = Field(default=None, description="All of it.", examples=["Yo ho ho!"])
    logprobs: list[JsonValue] | None = Field(default=None, description="Always empty.", examples=[[]])
    name: str | None = Field(default=None, description="The function to call.", examples=["weather"])
    arguments: str | None = Field(default=None, description="All of them.", examples=['{"place": "Lisbon"}'])
