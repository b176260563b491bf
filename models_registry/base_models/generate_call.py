"""What transformers' `generate` is called with, so that each row is written as it would be alone."""

from collections.abc import Callable, Collection, Sequence
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from models_registry.base_models.generation import GenerationParameters
from models_registry.base_models.processors import Processors, processors_of
from models_registry.base_models.writing import TokenDrawer
from models_registry.errors import Invalid
from models_registry.records import Fault

NO_TOKEN = 2**31 - 1
"""Ends no text, as no model has it; without any id, transformers takes the model's own."""


def generate_arguments(
    parameters: GenerationParameters,
    prompts: Tensor,
    room: int,
    ends: Collection[int],
    decode: Callable[[Tensor], tuple[str, ...]],
    stopped: Callable[[], bool],
    places: Sequence[int],
) -> dict[str, Any]:
    """Keyword arguments for `generate`: transformers is always greedy, for our own processors make the scores.

    `prompts` [rows, tokens] is 1 at the tokens that stand before the continuation, with padding on the left of some.
    `room` is how many may follow, `ends` the model's own tokens that end a text; `decode` reads rows of them. All rows
    end once `stopped` says so. What a row draws is decided by the seed and by its one of `places`.

    Raises `Invalid` for parameters that only texts that are written token by token can have.
    """
    _check_written_whole(parameters)
    start = prompts.shape[1]
    lengths: list[int] = prompts.sum(1).tolist()
    processors = [
        processors_of(parameters, length, parameters.ends(ends), place, prompts.device)
        for length, place in zip(lengths, places, strict=True)
    ]
    stops: list[StoppingCriteria] = [StopOnceTold(stopped)]
    if parameters.stops:
        stops.append(StopAtStrings(parameters.stops, start, decode))
    arguments: dict[str, Any] = {
        "do_sample": False,
        "max_new_tokens": room,
        "eos_token_id": sorted(parameters.ends(ends)) or NO_TOKEN,
        "stopping_criteria": StoppingCriteriaList(stops),
    }
    if not all(row.are_none for row in processors):
        padding = [start - length for length in lengths]
        arguments["logits_processor"] = LogitsProcessorList([EachRow(processors, padding)])
    return arguments


def drawn_arguments(drawer: TokenDrawer, room: int) -> dict[str, Any]:
    """Keyword arguments for `generate` of which at most `room` tokens follow, all drawn by `drawer`."""
    return {
        "do_sample": False,
        "max_new_tokens": room,
        "eos_token_id": NO_TOKEN,
        "logits_processor": LogitsProcessorList([Drawn(drawer)]),
        "stopping_criteria": StoppingCriteriaList([EndOnceOver(drawer)]),
    }


def until_end(tokens: Tensor, ends: Collection[int]) -> list[list[int]]:
    """Each row [rows, tokens] up to the first token that ends its text."""
    rows: list[list[int]] = tokens.tolist()
    return [list(takewhile(lambda id: id not in ends, row)) for row in rows]


def _check_written_whole(parameters: GenerationParameters) -> None:
    asked = {"logprobs": parameters.logprobs, "constraint": parameters.constraint is not None}
    faults = [
        Fault(("parameters", name), "This base model's texts are written by transformers' generate, which can't do it.")
        for name, is_asked in asked.items()
        if is_asked
    ]
    if faults:
        raise Invalid("The base model can't write texts this way; leave these parameters out.", faults)


class EachRow(LogitsProcessor):
    """Makes each row's scores by its own processors, of its own tokens: without the `padding` on their left."""

    def __init__(self, processors: Sequence[Processors], padding: Sequence[int]) -> None:
        self._processors = processors
        self._padding = padding

    def __call__(self, input_ids: torch.LongTensor, scores: Tensor) -> Tensor:
        rows = zip(self._processors, self._padding, input_ids.split(1), scores.split(1), strict=True)
        return torch.cat([process(ids[:, padding:], row) for process, padding, ids, row in rows])


class Drawn(LogitsProcessor):
    """Keeps of each row's scores only the token that `drawer` draws, because transformers takes the largest."""

    def __init__(self, drawer: TokenDrawer) -> None:
        self._drawer = drawer

    def __call__(self, input_ids: torch.LongTensor, scores: Tensor) -> Tensor:
        drawn = torch.tensor(self._drawer.draw(scores), device=scores.device)
        return torch.full_like(scores, -torch.inf).scatter_(1, drawn[:, None], 0.0)


class EndOnceOver(StoppingCriteria):
    """Ends each row once `drawer` says that it is over."""

    def __init__(self, drawer: TokenDrawer) -> None:
        self._drawer = drawer

    def __call__(self, input_ids: torch.LongTensor, scores: object, **_: Any) -> torch.BoolTensor:
        over = self._drawer.over()
        return torch.tensor(over, device=input_ids.device)  # pyright: ignore[reportReturnType] - torch has one Tensor


class StopOnceTold(StoppingCriteria):
    """Ends all rows after the token at which nobody waits for them any more."""

    def __init__(self, stopped: Callable[[], bool]) -> None:
        self._stopped = stopped

    def __call__(self, input_ids: torch.LongTensor, scores: object, **_: Any) -> torch.BoolTensor:
        stopped, rows = self._stopped(), input_ids[:, 0]
        return rows.new_full(rows.shape, stopped, dtype=torch.bool)  # pyright: ignore[reportReturnType] - one Tensor


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
