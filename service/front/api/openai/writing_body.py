"""What chats and completions have in common: how a text is drawn, where it ends, and how it is returned.

Our parameters are checked by the model's host; here stands only which of them a field of OpenAI's, or of vLLM's, is.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from service.front.api.openai.text_request import TextRequest

MOST_CHOICES = 128
# Ours -> OpenAI's, where they differ.
THEIR_NAMES: Mapping[str, str] = {
    "max_new_tokens": "max_tokens",
    "min_new_tokens": "min_tokens",
    "do_sample": "temperature",
    "constraint": "response_format",
}


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="ignore")

    include_usage: bool = Field(
        default=False, description="Whether a last chunk, without choices, has the usage.", examples=[True]
    )


class WritingBody(TextRequest):
    """Fields that don't change the text (`user`, `metadata`, `store`, …) are ignored; unknown ones are refused.

    Texts are drawn at random only where that is asked for: by a `temperature` above 0, or without one by `top_p`,
    `top_k`, `min_p`, `seed` or an `n` above 1."""

    LENGTH: ClassVar[int]
    """So many tokens where nobody says how many."""

    n: int | None = Field(
        default=None, ge=1, le=MOST_CHOICES, description="How many texts to write for each prompt.", examples=[1]
    )
    stream_options: StreamOptions | None = Field(
        default=None, title="Stream Options", description="For a stream only.", examples=[{"include_usage": True}]
    )
    max_tokens: int | None = Field(default=None, description="How many tokens to write at most.", examples=[256])
    temperature: float | None = Field(
        default=None, description="Of the draw; 0 is greedy, as is no temperature at all.", examples=[0.7]
    )
    top_p: float | None = Field(
        default=None, description="Draw among the most probable tokens of this weight.", examples=[0.95]
    )
    top_k: int | None = Field(default=None, description="Draw among so many tokens; 0 for all.", examples=[40])
    min_p: float | None = Field(
        default=None, description="Draw among tokens of this share of the best one's probability.", examples=[0.05]
    )
    seed: int | None = Field(default=None, description="The same seed draws the same text.", examples=[7])
    stop: str | list[str] | None = Field(default=None, description="A text ends before one of these.", examples=["\n"])
    stop_token_ids: list[int] | None = Field(
        default=None, description="A text ends at one of these tokens.", examples=[[2]]
    )
    ignore_eos: bool | None = Field(
        default=None, description="Go on behind the model's own end of a text.", examples=[False]
    )
    min_tokens: int | None = Field(default=None, description="How many tokens to write at least.", examples=[0])
    presence_penalty: float | None = Field(
        default=None, description="Against tokens that the text has already.", examples=[0.0]
    )
    frequency_penalty: float | None = Field(
        default=None, description="Against tokens, by how often the text has them.", examples=[0.0]
    )
    repetition_penalty: float | None = Field(
        default=None, description="Against tokens of prompt and text; 1 for none.", examples=[1.1]
    )
    no_repeat_ngram_size: int | None = Field(
        default=None, description="No sequence of so many tokens is written twice.", examples=[0]
    )
    logit_bias: dict[str, float] | None = Field(
        default=None, description="What is added to tokens' logits, by their ids.", examples=[{"50256": -100}]
    )

    @property
    def count(self) -> int:
        """How many texts to write for each prompt."""
        return self.n or 1

    @property
    def reports_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    def parameters(self) -> dict[str, Any]:
        drawn = (self.top_p, self.top_k or None, self.min_p, self.seed, self.n if self.count > 1 else None)
        samples = self.temperature != 0 and (self.temperature is not None or any(one is not None for one in drawn))
        given = {
            "max_new_tokens": self._length,
            "min_new_tokens": self.min_tokens,
            "do_sample": samples or None,
            "temperature": self.temperature if samples else None,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "min_p": self.min_p,
            "seed": None if self.seed is None else self.seed % 2**63,
            "stop": self.stop,
            "stop_token_ids": self.stop_token_ids,
            "ignore_eos": self.ignore_eos or None,
            "presence_penalty": self.presence_penalty or None,
            "frequency_penalty": self.frequency_penalty or None,
            "repetition_penalty": self.repetition_penalty,
            "no_repeat_ngram_size": self.no_repeat_ngram_size,
            "logit_bias": self.logit_bias or None,
            **self._own_parameters(),
        }
        if self._length is None:
            given |= {"max_new_tokens": self.LENGTH, "shorten": True}
        return {name: value for name, value in given.items() if value is not None}

    @property
    def _length(self) -> int | None:
        return self.max_tokens

    def _own_parameters(self) -> dict[str, Any]:
        """Those that only chats, or only completions, have."""
        return {}
