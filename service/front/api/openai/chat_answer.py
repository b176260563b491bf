"""What `/v1/chat/completions` answers: whole, and as the chunks of a stream."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

from pydantic import BaseModel, Field

from service.front.api.openai.tools import ToolCall
from service.front.api.openai.usage import TokenUsage
from service.protocol.texts import DrawnToken, TokenLogprob

Reason: TypeAlias = Literal["stop", "length", "tool_calls"]


class TopLogprob(BaseModel):
    token: str = Field(description="What it adds to the text.", examples=[" the"])
    logprob: float = Field(description="The natural logarithm of its probability.", examples=[-0.31])
    bytes: list[int] | None = Field(description="The same in UTF-8.", examples=[[32, 116, 104, 101]])

    @classmethod
    def of(cls, token: TokenLogprob) -> "TopLogprob":
        return cls(token=token.text, logprob=token.logprob, bytes=list(token.text.encode()))


class TokenLogprobs(TopLogprob):
    top_logprobs: list[TopLogprob] = Field(description="The most probable tokens in its place.", examples=[[]])


class Logprobs(BaseModel):
    content: list[TokenLogprobs] = Field(description="Each token of the text.")

    @classmethod
    def of(cls, tokens: Sequence[DrawnToken]) -> "Logprobs | None":
        """None where nobody asked for them."""
        content = [
            TokenLogprobs(
                token=token.text,
                logprob=token.logprob,
                bytes=list(token.text.encode()),
                top_logprobs=[TopLogprob.of(one) for one in token.alternatives],
            )
            for token in tokens
        ]
        return cls(content=content) if content else None


class ChatMessage(BaseModel):
    role: Literal["assistant"] = Field(description="Who wrote it.")
    content: str | None = Field(description="The text; null where it is calls alone.", examples=["Yo ho ho!"])
    refusal: None = Field(default=None, description="Always null.", examples=[None])
    tool_calls: list[ToolCall] | None = Field(default=None, description="What the model calls.")


class ChatChoice(BaseModel):
    index: int = Field(description="Which of the `n` texts it is.", examples=[0])
    message: ChatMessage = Field(title="Message", description="What was written.")
    logprobs: Logprobs | None = Field(default=None, title="Logprobs", description="Where they were asked for.")
    finish_reason: Reason = Field(
        title="Finish Reason", description="`stop`: by itself or at a stop; `length`: no room for more; `tool_calls`."
    )


class ChatAnswer(BaseModel):
    id: str = Field(description="The answer's own id.", examples=["chatcmpl-5f0c6f2e8c4b"])
    object: Literal["chat.completion"] = Field(description="What this is.")
    created: int = Field(description="When, in seconds since 1970.", examples=[1796000000])
    model: str = Field(description="As the request named it.", examples=["pirate"])
    system_fingerprint: str = Field(description="The exact version.", examples=["pirate@1:f3465b11eed0"])
    choices: list[ChatChoice] = Field(description="The texts.")
    usage: TokenUsage = Field(title="Usage", description="What they took.")


# ---- a stream ---------------------------------------------------------------------------------------------------


class ToolCallDelta(ToolCall):
    index: int = Field(description="Which of the text's calls it is.", examples=[0])


class ChatDelta(BaseModel):
    role: Literal["assistant"] | None = Field(default=None, description="With a text's first chunk.")
    content: str | None = Field(default=None, description="What was written since.", examples=["Yo ho "])
    tool_calls: list[ToolCallDelta] | None = Field(default=None, description="Calls, whole.")


class ChatChunkChoice(BaseModel):
    index: int = Field(description="Which of the `n` texts it is.", examples=[0])
    delta: ChatDelta = Field(title="Delta", description="What was written since.")
    logprobs: Logprobs | None = Field(default=None, title="Logprobs", description="Where they were asked for.")
    finish_reason: Reason | None = Field(default=None, description="With the text's last chunk.")


class ChatChunk(BaseModel):
    """The data of one event; the last one is followed by `[DONE]`."""

    id: str = Field(description="The answer's own id.", examples=["chatcmpl-5f0c6f2e8c4b"])
    object: Literal["chat.completion.chunk"] = Field(description="What this is.")
    created: int = Field(description="When, in seconds since 1970.", examples=[1796000000])
    model: str = Field(description="As the request named it.", examples=["pirate"])
    system_fingerprint: str = Field(description="The exact version.", examples=["pirate@1:f3465b11eed0"])
    choices: list[ChatChunkChoice] = Field(description="None in the chunk that has the usage.")
    usage: TokenUsage | None = Field(default=None, title="Usage", description="In the last chunk, if it was asked for.")
