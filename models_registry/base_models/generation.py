"""How a caller steers text generation, under transformers' own names, and how the next token is drawn."""

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from hashlib import sha256
from typing import Annotated, Any, Self

import torch
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from models_registry.errors import Invalid
from models_registry.records import Fault

MAX_NEW_TOKENS = 4096
LONGEST_NAME = 64
"""In characters: what is longer looks like no parameter, and comparing takes as many steps as both have characters."""


def _listed(stop: object) -> object:
    """OpenAI takes one string, several, or null."""
    return [] if stop is None else [stop] if isinstance(stop, str) else stop


StopString = Annotated[str, Field(min_length=1, max_length=256)]


class GenerationParameters(BaseModel):
    """Greedy unless `do_sample`; `temperature`, `top_k`, `top_p` and `seed` act only then, as in transformers.

    `max_tokens` and `stop` are OpenAI's: the first is another word for `max_new_tokens`, and a text ends before what
    `stop` names, while it ends behind one of transformers' `stop_strings`.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    max_new_tokens: int = Field(default=64, ge=1, le=MAX_NEW_TOKENS)
    max_tokens: int | None = Field(default=None, ge=1, le=MAX_NEW_TOKENS)
    min_new_tokens: int = Field(default=0, ge=0, le=MAX_NEW_TOKENS)
    do_sample: bool = False
    temperature: float = Field(default=1.0, gt=0, le=100)
    top_k: int = Field(default=0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    repetition_penalty: float = Field(default=1.0, gt=0, le=100)
    no_repeat_ngram_size: int = Field(default=0, ge=0, le=MAX_NEW_TOKENS)
    stop_strings: list[StopString] = Field(default=[], max_length=16)
    stop: Annotated[list[StopString], BeforeValidator(_listed)] = Field(default=[], max_length=16)
    seed: int | None = Field(default=None, ge=0, lt=2**63)

    @property
    def length(self) -> int:
        """How many tokens to write at most."""
        return self.max_tokens or self.max_new_tokens

    @property
    def room(self) -> int:
        """How many new tokens must fit: all that were asked for by name, of the default at least one."""
        return self.length if self._has_length else 1

    @property
    def stops(self) -> list[str]:
        return [*self.stop_strings, *self.stop]

    def cut(self, text: str) -> str:
        """What stands before the first of the strings that `stop` names."""
        return text[: min((at for string in self.stop if (at := text.find(string)) >= 0), default=None)]

    @property
    def _has_length(self) -> bool:
        return self.max_tokens is not None or "max_new_tokens" in self.model_fields_set

    @property
    def minds_company(self) -> bool:
        """Whether a text's continuation may depend on the texts beside it: by what is drawn, by processors that take
        the padding for tokens, by a row's end that others outlast, or by the room that the longest prompt leaves."""
        return (
            self.do_sample
            or self.repetition_penalty != 1.0
            or self.no_repeat_ngram_size > 0
            or bool(self.stops)
            or not self._has_length
        )

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.max_tokens is not None and "max_new_tokens" in self.model_fields_set:
            raise ValueError("max_tokens and max_new_tokens are the same; give one of them")
        if self.min_new_tokens > self.length:
            raise ValueError("min_new_tokens is larger than max_new_tokens")
        return self


def parse_parameters(raw: Mapping[str, Any]) -> GenerationParameters:
    """Raises `Invalid` listing every parameter that is unknown, of the wrong type or out of range."""
    try:
        return GenerationParameters.model_validate(dict(raw))
    except ValidationError as error:
        faults = [
            Fault(
                ("parameters", *entry["loc"]),
                _unknown(str(entry["loc"][-1])) if entry["type"] == "extra_forbidden" else f"{entry['msg']}.",
            )
            for entry in error.errors()
        ]
        raise Invalid("The generation parameters are wrong.", faults) from error


def _unknown(name: str) -> str:
    known = GenerationParameters.model_fields
    close = get_close_matches(name.lower(), known, n=1) if len(name) <= LONGEST_NAME else []
    way_out = f"Did you mean {close[0]!r}?" if close else f"Known here: {', '.join(known)}."
    return f"is not known here. {way_out}"


def own_defaults(shipped: GenerationConfig, pad_token_id: int) -> GenerationConfig:
    """A model's generation config without its taste in sampling, so that an answer is greedy unless asked otherwise."""
    return GenerationConfig(
        bos_token_id=shipped.bos_token_id, eos_token_id=shipped.eos_token_id, pad_token_id=pad_token_id
    )


def generate_arguments(
    parameters: GenerationParameters,
    start: int,
    device: torch.device,
    room: int,
    decode: Callable[[Tensor], tuple[str, ...]],
    stopped: Callable[[], bool],
    places: Sequence[int],
) -> dict[str, Any]:
    """Keyword arguments for `generate`: transformers is always greedy, for our own last processor does the sampling.

    `start` is how many tokens stand before the continuation and `room` how many may follow; `decode` reads rows of
    them. All rows end once `stopped` says so. What a row draws is decided by the seed and by its one of `places`.
    """
    stops: list[StoppingCriteria] = [StopOnceTold(stopped)]
    if parameters.stops:
        stops.append(StopAtStrings(parameters.stops, start, decode))
    arguments: dict[str, Any] = {
        "do_sample": False,
        "max_new_tokens": room,
        "repetition_penalty": parameters.repetition_penalty,
        "no_repeat_ngram_size": parameters.no_repeat_ngram_size,
        "logits_processor": _sampling(parameters, device, places),
        "stopping_criteria": StoppingCriteriaList(stops),
    }
    if parameters.min_new_tokens:
        arguments["min_new_tokens"] = min(parameters.min_new_tokens, room)
    return arguments


class StopOnceTold(StoppingCriteria):
    """Ends all rows after the token at which nobody waits for them any more."""

    def __init__(self, stopped: Callable[[], bool]) -> None:
        self._stopped = stopped

    def __call__(self, input_ids: torch.LongTensor, scores: object, **_: Any) -> torch.BoolTensor:
        told, rows = self._stopped(), input_ids[:, 0]
        return rows.new_full(rows.shape, told, dtype=torch.bool)  # pyright: ignore[reportReturnType] - one Tensor


class StopAtStrings(StoppingCriteria):
    """Ends a row once its continuation holds one of the strings, which stays in it, as with transformers' own.

    transformers' own first takes the whole vocabulary apart, which takes seconds and fails on some tokenizers.
    """

    def __init__(self, strings: Sequence[str], start: int, decode: Callable[[Tensor], tuple[str, ...]]) -> None:
        self._strings = strings
        self._start = start
        self._decode = decode

    def __call__(self, input_ids: torch.LongTensor, scores: object, **_: Any) -> torch.BoolTensor:
        texts = self._decode(input_ids[:, self._start :])
        found = [any(string in text for string in self._strings) for text in texts]
        return torch.tensor(found, device=input_ids.device)  # pyright: ignore[reportReturnType] - torch has one Tensor


class GumbelSampler(LogitsProcessor):
    """Adds Gumbel noise, to each row from a generator of its own: the largest sum is then a draw from the softmax.

    transformers draws from torch's global generator, which all threads share; seeding it would change what they draw.
    """

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        self._generators = generators

    def __call__(self, input_ids: torch.LongTensor, scores: Tensor) -> torch.FloatTensor:
        waiting = torch.empty_like(scores)
        for row, generator in zip(waiting, self._generators, strict=True):
            row.exponential_(generator=generator)
        return scores - waiting.log()  # pyright: ignore[reportReturnType] - torch types every difference as Tensor


def _sampling(parameters: GenerationParameters, device: torch.device, places: Sequence[int]) -> LogitsProcessorList:
    processors = LogitsProcessorList()
    if not parameters.do_sample:
        return processors
    if parameters.temperature != 1.0:
        processors.append(TemperatureLogitsWarper(parameters.temperature))
    if parameters.top_k:
        processors.append(TopKLogitsWarper(parameters.top_k))
    if parameters.top_p < 1.0:
        processors.append(TopPLogitsWarper(parameters.top_p))
    processors.append(GumbelSampler([_generator(parameters.seed, place, device) for place in places]))
    return processors


def _generator(seed: int | None, place: int, device: torch.device) -> torch.Generator:
    """Neighbouring seeds and places have nothing in common: the row 1 of one seed isn't the row 0 of the next."""
    generator = torch.Generator(device)
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(int.from_bytes(sha256(f"{seed} {place}".encode()).digest()[:7]))
    return generator
