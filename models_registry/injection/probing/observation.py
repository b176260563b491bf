"""One small forward, watched: what each module was given and gave, cut down to what tells rows apart."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_iter

from models_registry.injection.kernels.attention import arguments_of_rows

PROBED_ROWS = 3
SAMPLED = 1024
"""How many numbers of a row are kept: a long row's are taken at even distances."""
LARGEST = 1e30
"""What masks hold (-inf) is cut here, so that distances stay numbers."""

Batch: TypeAlias = Mapping[str, Tensor]
Forward: TypeAlias = Callable[[Batch], object]


@dataclass(frozen=True, slots=True)
class Seen:
    """A tensor's shape, and samples `[rows, numbers]` in float64 if it has at most `PROBED_ROWS` rows. `eps` is its
    dtype's: 0 for whole numbers."""

    shape: tuple[int, ...]
    rows: Tensor | None
    eps: float = 0.0


@dataclass(frozen=True, slots=True)
class Call:
    """The tensors that a module was given, and those that it gave."""

    given: list[Seen]
    gave: list[Seen] = field(default_factory=list[Seen])


@dataclass(frozen=True, slots=True)
class Run:
    """One forward: each module's calls in order, by its name, and what the model returned, whole and cut down."""

    calls: dict[str, list[Call]]
    output: object
    returned: list[Seen]


def observe(module: nn.Module, forward: Forward, batch: Batch) -> Run:
    """Raises whatever `forward` raises."""
    calls: dict[str, list[Call]] = {}
    with torch.no_grad(), _watching(module, calls):
        output = forward(batch)
    return Run(calls, output, _see(output))


@dataclass(frozen=True, slots=True)
class Trial:
    """The same rows in one forward, and each in one of its own."""

    together: Run
    alone: tuple[Run, ...]


def observe_alone(module: nn.Module, forward: Forward, batch: Batch) -> tuple[Run, ...]:
    """One forward for each of the `PROBED_ROWS` rows. Raises whatever `forward` raises."""
    singles = ({name: tensor[at : at + 1] for name, tensor in batch.items()} for at in range(PROBED_ROWS))
    return tuple(observe(module, forward, single) for single in singles)


@contextmanager
def _watching(module: nn.Module, calls: dict[str, list[Call]]) -> Generator[None]:
    running: list[Call] = []

    def enter(name: str) -> Callable[..., None]:
        def record(called: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            running.append(Call(_see(arguments_of_rows(called, args, kwargs))))
            calls.setdefault(name, []).append(running[-1])

        return record

    def leave(_: nn.Module, args: object, out: object) -> None:
        running.pop().gave.extend(_see(out))

    handles = [
        handle
        for name, child in module.named_modules()
        if name
        for handle in (
            child.register_forward_pre_hook(enter(name), with_kwargs=True),
            child.register_forward_hook(leave, always_call=True),
        )
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _see(value: object) -> list[Seen]:
    return [_sample(leaf) for leaf in tree_iter(value) if isinstance(leaf, Tensor)]


def _sample(tensor: Tensor) -> Seen:
    shape = tuple(tensor.shape)
    if not shape or shape[0] > PROBED_ROWS or not tensor.numel():
        return Seen(shape, None)
    real = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    flat = real.detach().flatten(1) if real.dim() > 1 else real.detach()[:, None]
    step = -(-flat.shape[1] // SAMPLED)
    eps = torch.finfo(real.dtype).eps if real.is_floating_point() else 0.0
    return Seen(shape, flat[:, ::step].double().nan_to_num().clamp(-LARGEST, LARGEST), eps)
