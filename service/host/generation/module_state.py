"""What a module keeps from one forward to the next, beside its parameters and buffers.

Most models keep what they have read in a cache that is handed to them. Some, such as RecurrentGemma, keep it in
attributes of their own: a forward for somebody else would then change the text that is being written.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from torch import Tensor, nn


class ModuleState:
    """Of these modules, as it was when this was made."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self._modules: Final = modules
        self._kept: Final = [_state_of(module) for module in modules]

    @property
    def holders(self) -> tuple[nn.Module, ...]:
        """Those that keep anything: of most models none."""
        kept = zip(self._modules, self._kept, strict=True)
        return tuple(module for module, own in kept if any(value is not None for value in own.values()))

    def restore(self) -> None:
        for module, kept in zip(self._modules, self._kept, strict=True):
            for name in _state_of(module).keys() - kept.keys():
                del module.__dict__[name]
            module.__dict__.update(kept)


def _state_of(module: nn.Module) -> Mapping[str, Any]:
    """Attributes that hold tensors, or nothing yet, each with a tensor of its own: a forward may write into it."""
    return {name: _copy(value) for name, value in vars(module).items() if name[0] != "_" and _is_state(value)}


def _is_state(value: Any) -> bool:
    match value:
        case None | Tensor():
            return True
        case list() | tuple():
            return any(isinstance(one, Tensor) for one in value)
        case _:
            return False


def _copy(value: Any) -> Any:
    match value:
        case Tensor():
            return value.clone()
        case list() | tuple():
            return type(value)(map(_copy, value))
        case _:
            return value
