"""The tokens of an answer, as OpenAI counts them: each prompt once, however many texts were written for it."""

from collections.abc import Mapping
from typing import Self

from pydantic import BaseModel, Field

from service.protocol.texts import WrittenText


class PromptTokens(BaseModel):
    cached_tokens: int = Field(description="Of the prompt's tokens, those that were in memory already.", examples=[0])


class TokenUsage(BaseModel):
    prompt_tokens: int = Field(description="Tokens of the prompts.", examples=[38])
    completion_tokens: int = Field(description="Tokens that were written.", examples=[48])
    total_tokens: int = Field(description="Both together.", examples=[86])
    prompt_tokens_details: PromptTokens = Field(title="Prompt Tokens Details", description="Of the prompts' tokens.")

    @classmethod
    def of(cls, texts: Mapping[int, WrittenText], repeats: int) -> Self:
        """`texts` by their rows, of which each prompt has `repeats`."""
        prompts = [text for row, text in texts.items() if row % repeats == 0]
        prompt = sum(text.prompt_tokens for text in prompts)
        written = sum(text.tokens for text in texts.values())
        return cls(
            prompt_tokens=prompt,
            completion_tokens=written,
            total_tokens=prompt + written,
            prompt_tokens_details=PromptTokens(cached_tokens=sum(text.cached_tokens for text in prompts)),
        )
