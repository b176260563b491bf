"""What an inference is answered with: its schemas, and how the engine's answer becomes JSON or safetensors."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, Field

from service.front.api.http.tensors import encode_outputs, encode_safetensors, write_json
from service.front.requests import AdapterChoice, Digest, InferAnswer
from service.protocol.texts import DrawnToken, FinishReason, TokenLogprob, WrittenText


class TensorAnswer(BaseModel):
    """`data` is flat and row-major; numbers that JSON can't write are `"NaN"`, `"Infinity"` and `"-Infinity"`."""

    dtype: str = Field(description="torch's name without `torch.`.", examples=["float32"])
    shape: list[int] = Field(description="As torch has it.", examples=[[2, 2]])
    data: list[float | int | bool | str] = Field(description="Flat and row-major.", examples=[[0.25, -1.5, "NaN", 3.0]])


class TimingAnswer(BaseModel):
    queue_ms: float = Field(description="Milliseconds from the request's arrival to its forward.", examples=[0.4])
    forward_ms: float = Field(description="Milliseconds of the forward that it shared.", examples=[7.9])


class UsageAnswer(BaseModel):
    """The tokens of one text."""

    prompt_tokens: int = Field(description="Tokens of what was to be continued.", examples=[38])
    cached_tokens: int = Field(description="Of these, the ones that were in memory already.", examples=[0])
    generated_tokens: int = Field(description="Tokens that were written.", examples=[48])


class LikelyToken(BaseModel):
    id: int = Field(description="The token's number in the vocabulary.", examples=[260])
    text: str = Field(description="What it adds to a text.", examples=[" the"])
    logprob: float = Field(description="The natural logarithm of its probability.", examples=[-0.31])


class DrawnTokenAnswer(LikelyToken):
    """A token of a text."""

    alternatives: list[LikelyToken] = Field(
        description="The most probable tokens in its place.", examples=[[{"id": 253, "text": " a", "logprob": -1.7}]]
    )


class TextAnswer(BaseModel):
    """How a text ended, and what it took."""

    finish_reason: FinishReason = Field(
        title="Finish Reason", description="`stop`: by itself or at a stop string; `length`: no room for more."
    )
    usage: UsageAnswer = Field(title="Usage", description="The tokens that it took.")
    logprobs: list[DrawnTokenAnswer] | None = Field(
        default=None, description="Each of its tokens, where `parameters` asked for logprobs.", examples=[None]
    )


class InferAnswerBody(BaseModel):
    """One `adapter` and one `digest` a row (one in all where there are no rows): exactly what produced it."""

    model: str = Field(description="The base model's id.", examples=["smollm2"])
    adapter: list[str | dict[str, float] | None] = Field(
        description="The exact versions, null for the base.", examples=[["tone@3", None, {"b@1": 0.7, "c@4": 0.3}]]
    )
    digest: list[str | dict[str, str] | None] = Field(
        description="The sha256 of their stored state dicts.", examples=[[f"sha256:{'1f' * 32}", None]]
    )
    outputs: dict[str, TensorAnswer | list[str]] = Field(
        description="The model's outputs by name.",
        examples=[{"logits": {"dtype": "float32", "shape": [1, 2], "data": [0.5, -2.0]}}],
    )
    texts: list[TextAnswer] | None = Field(
        default=None, description="With `parameters`: how each text ended, and what it took."
    )
    timing: TimingAnswer = Field(title="Timing", description="What the time was spent on.")


def json_of(answer: InferAnswer) -> bytes:
    outputs = encode_outputs(answer.outputs)
    return write_json({**_head(answer), "outputs": outputs, **_texts(answer), "timing": timing_of(answer)})


def safetensors_of(answer: InferAnswer) -> bytes:
    """What is no tensor (generated text, labels) travels with the rest of the answer."""
    words = {name: list(value) for name, value in answer.outputs.items() if isinstance(value, tuple)}
    rest = {**_head(answer), "outputs": words, **_texts(answer), "timing": timing_of(answer)}
    return encode_safetensors(answer.outputs, write_json(rest).decode())


def timing_of(answer: InferAnswer) -> dict[str, float]:
    return {"queue_ms": answer.queue_ms, "forward_ms": answer.forward_ms}


def choice_as_json(choice: AdapterChoice | Digest) -> Any:
    """A composition as a dict, which JSON's writer takes."""
    return dict(choice) if isinstance(choice, Mapping) else choice


def end_as_json(text: WrittenText) -> dict[str, Any]:
    """As `TextAnswer` has it, without logprobs."""
    return {
        "finish_reason": text.finish_reason,
        "usage": {
            "prompt_tokens": text.prompt_tokens,
            "cached_tokens": text.cached_tokens,
            "generated_tokens": text.tokens,
        },
    }


def tokens_as_json(tokens: Sequence[DrawnToken]) -> list[dict[str, Any]]:
    return [{**_token(token), "alternatives": list(map(_token, token.alternatives))} for token in tokens]


def _token(token: DrawnToken | TokenLogprob) -> dict[str, Any]:
    return {"id": token.id, "text": token.text, "logprob": token.logprob}


def _head(answer: InferAnswer) -> dict[str, Any]:
    return {
        "model": answer.model,
        "adapter": list(map(choice_as_json, answer.adapter)),
        "digest": list(map(choice_as_json, answer.digest)),
    }


def _texts(answer: InferAnswer) -> dict[str, Any]:
    """Nothing where none was written."""
    texts = [
        {**end_as_json(text), **({"logprobs": tokens_as_json(text.logprobs)} if text.logprobs else {})}
        for text in answer.texts
    ]
    return {"texts": texts} if texts else {}
