"""What a caller sends to an inference: which adapters, inputs and outputs, and what stands in the wrong place there."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from models_registry.records import Location
from service.front.api.http.bodies import JsonObject
from service.front.requests import AdapterChoice

_Reference = Annotated[str, StringConstraints(min_length=1, max_length=257)]
_Weight = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Composition: TypeAlias = Annotated[dict[_Reference, _Weight], Field(min_length=1)]
Choice = _Reference | Composition | None


class Call(BaseModel):
    """What both media types say: which adapters, and which of the model's outputs."""

    model_config = ConfigDict(extra="forbid")

    adapter: Choice | list[Choice] = Field(
        default=None,
        description="A reference, null for the base, a composition `{reference: weight}`, or a list with one a row.",
        examples=["tone@prod", ["a", None, {"b": 0.7, "c": 0.3}]],
    )
    outputs: list[str] | None = Field(
        default=None,
        description="Only these of the model's outputs. By default all of them; for text what the task is about: "
        "`embedding` (feature-extraction), `label`, `score` and `logits` (text-classification), `next_token` and its "
        "`score` (text-generation). All others, such as `logits` and `last_hidden_state`, are given if named.",
        examples=[["logits"]],
    )

    @property
    def choices(self) -> AdapterChoice | tuple[AdapterChoice, ...]:
        return tuple(self.adapter) if isinstance(self.adapter, list) else self.adapter

    @property
    def wanted(self) -> tuple[str, ...] | None:
        return None if self.outputs is None else tuple(self.outputs)


class InferBody(Call):
    """`inputs` are named tensors, `{"text": [...]}` or `{"messages": [...]}`.

    Without `parameters` the base model runs once on a text as it stands. With them a text-generation model writes, and
    where it has a chat template, a text is then a user's turn in a chat, and its continuation the answer. `chat` says
    otherwise.
    """

    inputs: dict[str, Any] = Field(
        description="Named tensors, as nested lists or `{dtype, shape, data}`; or `text`, one string a row; or "
        "`messages`, a list with one chat a row, each a list of `{role, content}` as OpenAI writes them, which the "
        "model's chat template turns into text.",
        examples=[
            {"input_ids": [[1, 2, 3]]},
            {"text": ["Tell me about the sea."]},
            {
                "messages": [
                    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why is it salty?"}]
                ]
            },
        ],
    )
    parameters: JsonObject | None = Field(
        default=None,
        description="Have a text-generation model write: `max_new_tokens` (or `max_tokens`), `min_new_tokens`, "
        "`do_sample`, `temperature`, `top_k`, `top_p`, `repetition_penalty`, `no_repeat_ngram_size`, `seed`, and "
        "`stop` (the text ends before it) or `stop_strings` (the text ends with it). `{}` is greedy, of 64 tokens.",
        examples=[{"max_new_tokens": 32, "stop": ["\n"]}],
    )
    stream: bool = Field(
        default=False,
        description="With `parameters`: the texts are sent as server-sent events while they are written.",
        examples=[True],
    )
    chat: bool | None = Field(
        default=None,
        description="Whether each text is a user's turn, put into the model's chat template (true), or is taken as it "
        "stands (false). By default true with `parameters` where the model has a template, else false.",
        examples=[True],
    )


STEERING = (
    "max_tokens",
    "max_new_tokens",
    "stop",
    "stop_strings",
    "temperature",
    "top_p",
    "top_k",
    "seed",
    "do_sample",
)
# What other APIs have at the top of a body, and where it stands here.
PLACES: Mapping[Location, str] = {
    ("text",): 'belongs into inputs: "inputs": {"text": ["…"]}',
    ("prompt",): 'is a text: "inputs": {"text": ["…"]}, with "chat": false where it is to be continued as it stands',
    (
        "messages",
    ): 'belongs into inputs, as a list of chats: "inputs": {"messages": [[{"role": "user", "content": "…"}]]}',
    ("model",): "is in the address: POST /models/{id}/infer",
    **{(name,): f'belongs into parameters: "parameters": {{"{name}": …}}' for name in STEERING},
}
