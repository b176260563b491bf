"""Two versions on the same inputs: which answers are equal, and how far the others are apart."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from torch import Tensor

from models_registry.errors import Invalid
from models_registry.inputs.json_inputs import decode_inputs
from models_registry.records import Fault
from service.console.forms import Form
from service.console.trials import cosine, parameters_of
from service.front.requests import InferAnswer, InferRequest

MOST_INPUTS: Final = 64
TOLERANCE: Final = 1e-5
"""Numbers that are closer than this part of the larger one are equal: batches round differently."""
SHOWN_OUTPUTS: Final = ("text", "label")


@dataclass(frozen=True, slots=True)
class Compared:
    """One input. `apart` says how far numbers are apart, empty where there are none."""

    text: str
    before: str
    after: str
    is_equal: bool
    apart: str


def comparison_of(model: str, form: Form) -> tuple[InferRequest, tuple[str, ...]]:
    """Each line of the form's inputs, for `before`, then for `after`; an empty one is the base. Raises `Invalid`."""
    texts = tuple(line.strip() for line in form.get("inputs").splitlines() if line.strip())
    if not 0 < len(texts) <= MOST_INPUTS:
        message = f"give 1 to {MOST_INPUTS} inputs, one a line; there are {len(texts)}"
        raise Invalid("These inputs can't be compared.", [Fault(("inputs",), message)])
    before, after = form.get("before") or None, form.get("after") or None
    adapters = (*[before] * len(texts), *[after] * len(texts))
    inputs = decode_inputs({"text": [*texts, *texts]})
    return InferRequest(model, inputs, adapters, parameters=parameters_of(form)), texts


def compared(texts: Sequence[str], answer: InferAnswer) -> tuple[Compared, ...]:
    return tuple(_compared(text, answer, row, row + len(texts)) for row, text in enumerate(texts))


def as_csv(rows: Sequence[Compared]) -> str:
    written = io.StringIO()
    table = csv.writer(written)
    table.writerow(["input", "before", "after", "equal", "apart"])
    table.writerows(
        [*map(_no_formula, (row.text, row.before, row.after)), "yes" if row.is_equal else "no", row.apart]
        for row in rows
    )
    return written.getvalue()


def _compared(text: str, answer: InferAnswer, old: int, new: int) -> Compared:
    words = next((answer.outputs[name] for name in SHOWN_OUTPUTS if name in answer.outputs), None)
    tensors = [output for output in answer.outputs.values() if isinstance(output, Tensor)]
    if isinstance(words, tuple):
        return Compared(text, words[old], words[new], words[old] == words[new], _furthest(tensors, old, new))
    before, after = (_numbers(tensors, row) for row in (old, new))
    return Compared(
        text, _brief(before), _brief(after), _are_close(before, after), f"cosine {cosine(before, after):.6f}"
    )


def _furthest(tensors: Sequence[Tensor], old: int, new: int) -> str:
    before, after = _numbers(tensors, old), _numbers(tensors, new)
    return f"{max(abs(one - other) for one, other in zip(before, after, strict=True)):.3g}" if before else ""


def _numbers(tensors: Sequence[Tensor], row: int) -> list[float]:
    return [float(number) for tensor in tensors for number in tensor[row].flatten().tolist()]


def _are_close(before: Sequence[float], after: Sequence[float]) -> bool:
    pairs = zip(before, after, strict=True)
    return all(abs(one - other) <= TOLERANCE * max(abs(one), abs(other), 1.0) for one, other in pairs)


def _brief(numbers: Sequence[float]) -> str:
    return " ".join(f"{number:.4g}" for number in numbers[:6]) + (" …" if len(numbers) > 6 else "")


def _no_formula(text: str) -> str:
    """What a spreadsheet would compute is text there, too."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
