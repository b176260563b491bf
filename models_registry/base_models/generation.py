"""How a caller steers text generation, under transformers' own names where it has them."""

from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Self, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails
from transformers import GenerationConfig, PreTrainedModel

from models_registry.base_models.constraint import Constraint
from models_registry.base_models.stop_strings import StopStrings
from models_registry.errors import Invalid
from models_registry.records import Fault

MAX_NEW_TOKENS = 4096
LONGEST_NAME = 64
"""In characters: what is longer looks like no parameter, and comparing takes as many steps as both have characters."""


def _listed(stop: object) -> object:
    """OpenAI takes one string, several, or null."""
    return [] if stop is None else [stop] if isinstance(stop, str) else stop


def _numbered(bias: object) -> object:
    """JSON's keys are strings, also where they are numbers; null is as good as nothing."""
    if not isinstance(bias, Mapping):
        return {} if bias is None else bias
    entries = cast(Mapping[Any, Any], bias).items()
    return {int(k) if isinstance(k, str) and k.isdecimal() and len(k) < LONGEST_NAME else k: v for k, v in entries}


StopString = Annotated[str, Field(min_length=1, max_length=256)]
TokenId = Annotated[int, Field(ge=0, lt=2**31)]
Bias = Annotated[float, Field(ge=-100, le=100)]


class GenerationParameters(BaseModel):
    """Greedy unless `do_sample`; `temperature`, `top_k`, `top_p`, `min_p` and `seed` act only then, as in transformers.

    `max_tokens`, `stop`, the two penalties, `logit_bias` and `top_logprobs` are OpenAI's: the first is another word for
    `max_new_tokens`, and a text ends before what `stop` names, while it ends behind one of transformers'
    `stop_strings`. `stop_token_ids` and `ignore_eos` are vLLM's: more tokens that end a text, which are no part of it,
    and none of the model's own. `logprobs` are those of the model itself, the log-softmax of its logits before
    penalties, biases, the constraint and the temperature. `shorten` has fewer tokens written
    where the context has no room for as many, rather than a refusal.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    max_new_tokens: int = Field(default=64, ge=1, le=MAX_NEW_TOKENS)
    max_tokens: int | None = Field(default=None, ge=1, le=MAX_NEW_TOKENS)
    shorten: bool = False
    min_new_tokens: int = Field(default=0, ge=0, le=MAX_NEW_TOKENS)
    do_sample: bool = False
    temperature: float = Field(default=1.0, gt=0, le=100)
    top_k: int = Field(default=0, ge=0, lt=2**31)
    top_p: float = Field(default=1.0, gt=0, le=1)
    min_p: float = Field(default=0.0, ge=0, le=1)
    repetition_penalty: float = Field(default=1.0, gt=0, le=100)
    presence_penalty: float = Field(default=0.0, ge=-2, le=2)
    frequency_penalty: float = Field(default=0.0, ge=-2, le=2)
    no_repeat_ngram_size: int = Field(default=0, ge=0, le=MAX_NEW_TOKENS)
    logit_bias: Annotated[dict[TokenId, Bias], BeforeValidator(_numbered)] = Field(default={}, max_length=1024)
    stop_strings: list[StopString] = Field(default=[], max_length=16)
    stop: Annotated[list[StopString], BeforeValidator(_listed)] = Field(default=[], max_length=16)
    stop_token_ids: list[TokenId] = Field(default=[], max_length=64)
    ignore_eos: bool = False
    logprobs: bool = False
    top_logprobs: int = Field(default=0, ge=0, le=20)
    constraint: Constraint | None = None
    seed: int | None = Field(default=None, ge=0, lt=2**63)

    @property
    def length(self) -> int:
        """How many tokens to write at most."""
        return self.max_tokens or self.max_new_tokens

    @property
    def room(self) -> int:
        """How many new tokens must fit: all that were asked for by name; of the default, and of those that are to be
        shortened, at least one."""
        return self.length if self._has_length and not self.shorten else 1

    @property
    def stops(self) -> list[str]:
        return [*self.stop_strings, *self.stop]

    def stop_reader(self) -> StopStrings:
        """To read one text with."""
        return StopStrings(self.stop, self.stop_strings)

    def cut(self, text: str) -> str:
        """The text up to where the first of the strings that are to stop it ends it."""
        reader = self.stop_reader()
        return reader.read(text) + reader.end()

    def ends(self, own: Collection[int]) -> frozenset[int]:
        """The tokens that end a text where the model's `own` are these."""
        return frozenset(self.stop_token_ids) | frozenset(() if self.ignore_eos else own)

    @property
    def _has_length(self) -> bool:
        return self.max_tokens is not None or "max_new_tokens" in self.model_fields_set

    @property
    def minds_company(self) -> bool:
        """Whether a text's continuation may depend on the texts beside it: by what is drawn, by a row's end that others
        outlast, or by the room that the longest prompt leaves."""
        return self.do_sample or bool(self.stops or self.stop_token_ids) or self.shorten or not self._has_length

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.max_tokens is not None and "max_new_tokens" in self.model_fields_set:
            raise ValueError("max_tokens and max_new_tokens are the same; give one of them")
        if self.min_new_tokens > self.length:
            raise ValueError(f"min_new_tokens is {self.min_new_tokens}, larger than max_new_tokens, {self.length}")
        if self.top_logprobs and not self.logprobs:
            raise ValueError(f"top_logprobs is {self.top_logprobs}, which needs logprobs: true")
        if self.constraint is not None and self.ignore_eos:
            raise ValueError("ignore_eos and constraint contradict each other: what has its form complete has to end")
        return self


def parse_parameters(raw: Mapping[str, Any]) -> GenerationParameters:
    """Raises `Invalid` listing every parameter that is unknown, of the wrong type or out of range."""
    try:
        return GenerationParameters.model_validate(dict(raw))
    except ValidationError as error:
        faults = [Fault(("parameters", *_place(entry)), _explain(entry)) for entry in error.errors()]
        raise Invalid("The generation parameters are wrong.", faults) from error


def check_token_ids(parameters: GenerationParameters, vocabulary: int | None) -> None:
    """Raises `Invalid` naming every token id that a model with this many tokens doesn't have (None: any number)."""
    if vocabulary is not None and (faults := list(_outside(parameters, vocabulary))):
        raise Invalid("The generation parameters name tokens that the model doesn't have.", faults)


def _outside(parameters: GenerationParameters, vocabulary: int) -> Iterator[Fault]:
    named = {"logit_bias": parameters.logit_bias, "stop_token_ids": parameters.stop_token_ids}
    for name, ids in named.items():
        for at, id in enumerate(ids):
            if id >= vocabulary:
                place = id if name == "logit_bias" else at
                message = f"{id} is no token of the model, which has {vocabulary}: 0 to {vocabulary - 1}."
                yield Fault(("parameters", name, place), message)


def _place(entry: ErrorDetails) -> tuple[str | int, ...]:
    """Without pydantic's mark that the key itself is wrong, and not what stands under it."""
    return tuple(step for step in entry["loc"] if step != "[key]")


def _explain(entry: ErrorDetails) -> str:
    """What pydantic says, with what was sent where it names the bound alone."""
    message, sent = entry["msg"].removeprefix("Value error, "), entry["input"]
    if entry["type"] == "extra_forbidden":
        name = str(entry["loc"][-1])
        return _unknown(name, Constraint if len(entry["loc"]) > 1 else GenerationParameters)
    if entry["type"].startswith(("greater_than", "less_than")) and isinstance(sent, int | float):
        return f"{message}, not {sent}." if abs(sent) < 2**64 else f"{message}."
    if entry["type"] == "string_too_long":
        return f"{message}, not {len(sent)}."
    if entry["type"] == "too_long":
        return f"At most {entry.get('ctx', {}).get('max_length')} are taken, not {len(sent)}."
    return f"{message}."


def _unknown(name: str, where: type[BaseModel]) -> str:
    known = where.model_fields
    close = get_close_matches(name.lower(), known, n=1) if len(name) <= LONGEST_NAME else []
    way_out = f"Did you mean {close[0]!r}?" if close else f"Known here: {', '.join(known)}."
    return f"is not known here. {way_out}"


def own_defaults(shipped: GenerationConfig, pad_token_id: int) -> GenerationConfig:
    """A model's generation config without its taste in sampling, so that an answer is greedy unless asked otherwise."""
    return GenerationConfig(
        bos_token_id=shipped.bos_token_id, eos_token_id=shipped.eos_token_id, pad_token_id=pad_token_id
    )


def end_ids(model: PreTrainedModel) -> frozenset[int]:
    """The tokens that end a text, by the model's generation config."""
    ids: int | list[int] | None = model.generation_config.eos_token_id if model.can_generate() else None
    return frozenset([ids] if isinstance(ids, int) else ids or ())
