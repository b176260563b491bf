"""What `/v1/completions` answers; the chunks of a stream have the same form."""

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, Field

from service.front.api.openai.usage import TokenUsage
from service.protocol.texts import DrawnToken, FinishReason


class CompletionLogprobs(BaseModel):
    tokens: list[str] = Field(description="The text's tokens.", examples=[[" there", " was"]])
    token_logprobs: list[float] = Field(description="Of each, in nats.", examples=[[-0.2, -0.1]])
    top_logprobs: list[dict[str, float]] = Field(
        description="The most probable tokens in each place.", examples=[[{" there": -0.2, " in": -2.1}]]
    )
    text_offset: list[int] = Field(description="Where each begins in the text.", examples=[[0, 6]])

    @classmethod
    def of(cls, tokens: Sequence[DrawnToken], offset: int = 0) -> "CompletionLogprobs | None":
        """Of tokens behind `offset` characters of their text. None where nobody asked for them."""
        if not tokens:
            return None
        lengths = [len(token.text) for token in tokens]
        return cls(
            tokens=[token.text for token in tokens],
            token_logprobs=[token.logprob for token in tokens],
            top_logprobs=[{one.text: one.logprob for one in token.alternatives} for token in tokens],
            text_offset=[offset + sum(lengths[:place]) for place in range(len(lengths))],
        )


class CompletionChoice(BaseModel):
    index: int = Field(description="Which of the texts it is: the first `n` are the first prompt's.", examples=[0])
    text: str = Field(description="What was written.", examples=[" there was a ship"])
    logprobs: CompletionLogprobs | None = Field(default=None, title="Logprobs", description="If they were asked for.")
    finish_reason: FinishReason | None = Field(
        description="`stop`: by itself or at a stop; `length`: no room for more; null while it is written."
    )


class CompletionAnswer(BaseModel):
    id: str = Field(description="The answer's own id.", examples=["cmpl-5f0c6f2e8c4b"])
    object: Literal["text_completion"] = Field(description="What this is.")
    created: int = Field(description="When, in seconds since 1970.", examples=[1796000000])
    model: str = Field(description="As the request named it.", examples=["pirate"])
    system_fingerprint: str = Field(description="The exact version.", examples=["pirate@1:f3465b11eed0"])
    choices: list[CompletionChoice] = Field(description="The texts.")
    usage: TokenUsage | None = Field(default=None, title="Usage", description="What they took; of a stream in a chunk.")
