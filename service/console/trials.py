"""One input for several adapters at once, beside the base: what is asked, and how each answer looks on a page."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import mul
from typing import Any, Final

from torch import Tensor

from models_registry.errors import Invalid
from models_registry.inputs.json_inputs import decode_inputs
from models_registry.records import Fault
from service.console.forms import Form
from service.front.requests import AdapterChoice, InferAnswer, InferRequest

MOST_ADAPTERS: Final = 12
MOST_BARS: Final = 50
MOST_TOKENS: Final = 2048


@dataclass(frozen=True, slots=True)
class Bar:
    """`part` is 0 to 100, of the way from the smallest number to the largest."""

    name: str
    value: float
    part: float


@dataclass(frozen=True, slots=True)
class Column:
    """What one adapter answered; `reference` None is the base."""

    reference: AdapterChoice
    digest: str | None
    words: tuple[tuple[str, str], ...]
    bars: tuple[Bar, ...]
    vector: tuple[float, ...] | None


def trial_of(model: str, form: Form, tensors: Mapping[str, Any] | None) -> InferRequest:
    """A row for the base, then one for each adapter. With `max_new_tokens` a language model writes. `tensors` are of
    one row, None for a text. Raises `Invalid`."""
    adapters = tuple(dict.fromkeys(form.all("adapter")))
    if len(adapters) > MOST_ADAPTERS:
        raise Invalid("These are too many at once.", [Fault(("adapter",), f"take at most {MOST_ADAPTERS}")])
    rows = 1 + len(adapters)
    given = {"text": [form.need("input")] * rows} if tensors is None else _repeated(tensors, rows)
    return InferRequest(model, decode_inputs(given), (None, *adapters), parameters=parameters_of(form))


def parameters_of(form: Form) -> Mapping[str, Any] | None:
    """None where nothing is to be written. Raises `Invalid`."""
    if not form.get("max_new_tokens"):
        return None
    tokens = form.number("max_new_tokens")
    if tokens > MOST_TOKENS:
        raise Invalid("That is too long for a page.", [Fault(("max_new_tokens",), f"take at most {MOST_TOKENS}")])
    return {"max_new_tokens": tokens}


def columns_of(answer: InferAnswer) -> tuple[Column, ...]:
    rows = zip(answer.adapter, answer.digest, strict=True)
    return tuple(
        Column(reference, digest if isinstance(digest, str) else None, *_shown(answer, row))
        for row, (reference, digest) in enumerate(rows)
    )


def similarities(columns: Sequence[Column]) -> tuple[tuple[float, ...], ...]:
    """Cosines between all of their vectors; nothing where one has none."""
    vectors = [column.vector for column in columns if column.vector is not None]
    if len(vectors) < len(columns):
        return ()
    return tuple(tuple(cosine(one, other) for other in vectors) for one in vectors)


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    length = math.hypot(*one) * math.hypot(*other)
    return sum(map(mul, one, other)) / length if length else math.nan


def _shown(
    answer: InferAnswer, row: int
) -> tuple[tuple[tuple[str, str], ...], tuple[Bar, ...], tuple[float, ...] | None]:
    words: list[tuple[str, str]] = []
    bars: tuple[Bar, ...] = ()
    vector: tuple[float, ...] | None = None
    for name, output in answer.outputs.items():
        if not isinstance(output, Tensor):
            words.append((name, output[row]))
            continue
        has_rows = output.dim() > 0 and len(output) == len(answer.adapter)
        numbers = tuple(float(number) for number in (output[row] if has_rows else output).flatten().tolist())
        if len(numbers) == 1:
            words.append((name, f"{numbers[0]:.4g}"))
        elif len(numbers) <= MOST_BARS:
            bars = _bars(numbers)
        vector = numbers if len(numbers) > 1 and output.dim() == 2 else vector
    return tuple(words), bars, vector


def _bars(numbers: Sequence[float]) -> tuple[Bar, ...]:
    finite = [number for number in numbers if math.isfinite(number)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    width = (high - low) or 1.0
    return tuple(
        Bar(str(place), number, 100 * (number - low) / width if math.isfinite(number) else 0.0)
        for place, number in enumerate(numbers)
    )


def _repeated(tensors: Mapping[str, Any], rows: int) -> dict[str, Any]:
    faults = [
        Fault(("input", name), "give one row: a list with one item, as in [[1.0, 2.0]]")
        for name, value in tensors.items()
        if not isinstance(value, list) or len(value) != 1  # pyright: ignore[reportUnknownArgumentType]
    ]
    if faults or not tensors:
        raise Invalid("The input is no tensors of one row by their names.", faults)
    return {name: value * rows for name, value in tensors.items()}
