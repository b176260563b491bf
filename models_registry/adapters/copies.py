"""A module's own copy with other tensors: what `modules_to_save` gives an adapter."""
# torch has no public way to copy a module without its tensors. A deep copy would take along whatever hooks point to.
# pyright: reportPrivateUsage=false

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn

INJECTED: Final = "adapters"
"""The child that injection adds to a module, which is no part of the base model."""


class InjectedForward(partial[Any]):
    """What injection puts in the place of a module's own forward. It answers for that module; no copy has it."""


class WideForward(InjectedForward):
    """One that computes in float32, whatever dtype the module's weights are stored in; a copy has these in float32."""


def copy_with(module: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """A module of the same class and attributes, in whose parameters and buffers `tensors` (by their names in
    `module`) stand. What isn't named is shared with the original, which is left alone."""
    copy = module._replicate_for_data_parallel()
    own = vars(copy)
    forward = own.get("forward")
    if isinstance(forward, InjectedForward):
        del own["forward"]
    own["_parameters"] = {name: _parameter(tensors.get(name, p)) for name, p in module._parameters.items()}
    if isinstance(forward, WideForward):
        own["_parameters"] = {name: _widened(p) for name, p in own["_parameters"].items()}
    own["_buffers"] = {name: tensors.get(name, b) for name, b in module._buffers.items()}
    own["_modules"] = {
        name: child and copy_with(child, _below(name, tensors))
        for name, child in module._modules.items()
        if name != INJECTED
    }
    if isinstance(copy, nn.RNNBase):  # keeps a list of its weights beside them
        own["_flat_weights"] = [getattr(copy, name) for name in copy._flat_weights_names]
    return copy


def _parameter(tensor: Tensor | None) -> Tensor | None:
    """As a parameter, which is what `Module.to()` moves; unless gradients flow through it, in training."""
    if tensor is None or tensor.requires_grad or isinstance(tensor, nn.Parameter):
        return tensor
    return nn.Parameter(tensor, requires_grad=False)


def _widened(parameter: Tensor | None) -> Tensor | None:
    return None if parameter is None or parameter.dtype == torch.float32 else _parameter(parameter.detach().float())


def _below(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    prefix = f"{name}."
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
