"""What one small forward shows of a base model: which modules it enters, and at which of them rows stay rows.

A model may fold time, windows or heads into the batch dimension, permute it, or send only some rows to a module. So a
batch runs once as a whole and once row by row, and a module's rows count as rows only where both give it the same.
"""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import torch
from torch import Tensor, nn

from models_registry.injection.bypass import find_bypassed

PROBED_ROWS = 3
NEARER = 0.1
"""How much nearer a row must be to itself than to the next one. Roundings of a batch differ from those of a row."""

Calls: TypeAlias = dict[str, list[Any]]
"""Module name -> the first argument of each call, in order."""


@dataclass(frozen=True, slots=True)
class Reach:
    """`entered` are the modules that the forward calls; `by_row` those of them that it always calls with the batch's
    rows along the leading dimension, so that a delta at index i reaches row i alone. `bypassed` are modules whose
    weights it reads without calling them: an adapter there would not act, or act in part."""

    entered: frozenset[str]
    by_row: frozenset[str]
    bypassed: frozenset[str]


UNKNOWN: Final = Reach(frozenset(), frozenset(), frozenset())


def probe(module: nn.Module, forward: Callable[[Mapping[str, Tensor]], object], rows: Mapping[str, Tensor]) -> Reach:
    """Run `forward` on rows made from `rows` (tensors with a common leading dimension) and watch every module.

    Rows that stand there once only are varied: tokens and features change places, so that no two rows are alike.
    Raises whatever `forward` raises.
    """
    batch = {name: vary(tensor) for name, tensor in rows.items()}
    together, bypassed = _calls(module, forward, batch), find_bypassed(module, lambda: forward(batch))
    alone = [_calls(module, forward, {n: t[i : i + 1] for n, t in batch.items()}) for i in range(PROBED_ROWS)]
    by_row = {
        name for name, calls in together.items() if _keeps_rows(calls, [calls_of.get(name) for calls_of in alone])
    }
    return Reach(frozenset(together), frozenset(by_row), bypassed)


def vary(tensor: Tensor) -> Tensor:
    """`PROBED_ROWS` rows, the later ones rolled along their dimensions: the same numbers in other places."""
    rows = [tensor[index % len(tensor)] for index in range(PROBED_ROWS)]
    rolled = [row.roll(shift, dims=-1) if row.dim() else row for shift, row in enumerate(rows)]
    return torch.stack(rolled)


def _calls(module: nn.Module, forward: Callable[[Mapping[str, Tensor]], object], batch: Mapping[str, Tensor]) -> Calls:
    calls: Calls = {}
    with torch.no_grad(), _watching(module, calls):
        forward(batch)
    return calls


@contextmanager
def _watching(module: nn.Module, calls: Calls) -> Generator[None]:
    def watch(name: str) -> Callable[..., None]:
        def record(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            first = args[0] if args else next(iter(kwargs.values()), None)
            calls.setdefault(name, []).append(first.detach().clone() if isinstance(first, Tensor) else None)

        return record

    handles = [m.register_forward_pre_hook(watch(name), with_kwargs=True) for name, m in module.named_modules() if name]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _keeps_rows(together: list[Any], alone: list[list[Any] | None]) -> bool:
    """Whether each call's row i is what row i gives alone, and unlike what the other rows give."""
    if any(calls is None or len(calls) != len(together) for calls in alone):
        return False
    return all(_is_row_wise(whole, [calls[at] for calls in alone if calls]) for at, whole in enumerate(together))


def _is_row_wise(whole: Any, single: list[Any]) -> bool:
    if not all(isinstance(value, Tensor) and value.dim() for value in (whole, *single)):
        return False
    if len(whole) != PROBED_ROWS or any(value.shape != (1, *whole.shape[1:]) for value in single):
        return False
    rows = [value[0].double() for value in single]
    for index, row in enumerate(rows):
        other = rows[(index + 1) % PROBED_ROWS]
        if not torch.dist(whole[index].double(), row) <= NEARER * torch.dist(row, other) or torch.equal(row, other):
            return False
    return True
