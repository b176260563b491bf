"""Which modules a forward passes by: it reads their weights itself instead of calling them, so no hook there can act.

Fused and functional code does so, as `nn.MultiheadAttention` does with its `out_proj`. Every operation of a forward is
watched for weights of modules that are not being called at that moment.
"""

from bisect import bisect_right
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


def find_bypassed(module: nn.Module, run: Callable[[], object]) -> frozenset[str]:
    """The modules whose `weight` was read by `run` outside their own forward. Raises whatever `run` raises."""
    reads = _Reads(module)
    with torch.no_grad(), _following(module, reads), reads:
        run()
    return frozenset(reads.bypassed)


class _Reads(TorchDispatchMode):
    """Watches operations. `running` holds the names of the modules that are being called now, the outer ones first."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.running: list[str] = []
        self.bypassed: set[str] = set()
        self._owners = _owners(module)
        self._starts = sorted(self._owners)

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        for value in tree_iter((args, kwargs or {})):
            if isinstance(value, Tensor):
                self._record(value)
        return func(*args, **(kwargs or {}))

    def _record(self, tensor: Tensor) -> None:
        """A view of a weight, such as its transpose, begins somewhere inside it."""
        at = bisect_right(self._starts, tensor.data_ptr()) - 1
        if at < 0:
            return
        end, names = self._owners[self._starts[at]]
        if tensor.data_ptr() < end and not names & set(self.running):
            self.bypassed |= names


def _owners(module: nn.Module) -> Mapping[int, tuple[int, set[str]]]:
    """Address of each weight -> where it ends, and the modules that own it: tied ones share it."""
    owners: dict[int, tuple[int, set[str]]] = {}
    for name, owner in module.named_modules(remove_duplicate=False):
        for weight in _weight(owner):
            _, names = owners.setdefault(weight.data_ptr(), (weight.data_ptr() + weight.nbytes, set()))
            names.add(name)
    return owners


def _weight(owner: nn.Module) -> Iterator[Tensor]:
    for name, parameter in owner.named_parameters(recurse=False):
        if name == "weight" and parameter.numel():
            yield parameter


@contextmanager
def _following(module: nn.Module, reads: _Reads) -> Generator[None]:
    def enter(name: str) -> Callable[..., None]:
        return lambda *_: reads.running.append(name)

    def leave(*_: object) -> None:
        reads.running.pop()

    handles = [
        handle
        for name, child in module.named_modules()
        for handle in (
            child.register_forward_pre_hook(enter(name)),
            child.register_forward_hook(leave, always_call=True),
        )
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
