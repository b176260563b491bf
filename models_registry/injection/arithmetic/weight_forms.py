"""One module whose weights can be switched between forms, so that they can be measured in turn. Parameters and buffers
stay the same objects, or the same names; what they hold is exchanged."""
# torch has no public way to exchange a buffer and keep it out of the state dict.
# pyright: reportPrivateUsage=false

from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor, nn

from models_registry.adapters.copies import WideForward
from models_registry.arithmetic import Form
from models_registry.dtypes import dtype_named
from models_registry.injection.arithmetic.packing import (
    can_pack,
    pack,
    packed_bytes,
    packing_refusal,
    rows_stay_equal,
    survives_float16,
)
from models_registry.records import ModuleInfo

HALVES: Final = (torch.bfloat16, torch.float16)


class WeightForms:
    """`refused` says why a form can't be used. A module that is in float32 has no other form of that name."""

    def __init__(self, module: nn.Module) -> None:
        """Raises `RuntimeError` where the memory doesn't suffice for a copy in float32."""
        self._parameters = list(module.parameters())
        self._buffers = list(_half_buffers(module))
        self._stored = [parameter.data for parameter in self._parameters]
        # Made under inference mode, they could be used nowhere else.
        with torch.inference_mode(False), torch.no_grad():
            self._wide = [_widened(stored) for stored in self._stored]
            self._wide_buffers = [buffer.float() for _, _, buffer in self._buffers]
        self.refused: dict[Form, str] = {}
        self._packed: dict[nn.Linear, WideForward] = {}
        if all(wide is stored for wide, stored in zip(self._wide, self._stored, strict=True)):
            self.refused["float32"] = "the weights are stored so"
        if (refusal := self._pack(module)) is not None:
            self.refused["float16_weights"] = refusal
            self._packed = {}
        self._kept = _only_packed(module, self._packed)

    def use(self, form: Form) -> None:
        """Let the module compute in this form, which isn't refused."""
        for parameter, stored, wide in zip(self._parameters, self._stored, self._wide, strict=True):
            parameter.data = stored if self._stays(parameter, form) else wide
        for (owner, name, stored), wide in zip(self._buffers, self._wide_buffers, strict=True):
            owner._buffers[name] = stored if form == "as_stored" else wide
        for layer, forward in self._packed.items():
            if form == "float16_weights":
                layer.forward = forward
            else:
                vars(layer).pop("forward", None)

    def bytes(self, form: Form) -> int:
        """What all weights take in this form."""
        weights = zip(self._parameters, self._stored, self._wide, strict=True)
        own = sum((stored if self._stays(p, form) else wide).nbytes for p, stored, wide in weights)
        return own + (packed_bytes(list(self._packed)) if form == "float16_weights" else 0)

    def _stays(self, parameter: nn.Parameter, form: Form) -> bool:
        return form == "as_stored" or (form == "float16_weights" and id(parameter) in self._kept)

    def _pack(self, module: nn.Module) -> str | None:
        """Why no layer can be packed, if so."""
        if (refusal := packing_refusal()) is not None:
            return refusal
        stored = {id(p): own for p, own in zip(self._parameters, self._stored, strict=True)}
        wide = {id(p): own for p, own in zip(self._parameters, self._wide, strict=True)}
        layers = [m for m in module.modules() if isinstance(m, nn.Linear) and can_pack(m)]
        for layer in layers:
            if survives_float16(stored[id(layer.weight)]):
                bias = getattr(layer, "bias", None)
                self._packed[layer] = pack(layer, wide[id(layer.weight)], None if bias is None else wide[id(bias)])
        if not self._packed:
            return "no linear layer's weights survive float16 exactly" if layers else "it has no plain linear layer"
        if not rows_stay_equal(self._packed):
            return "a row's bits depend on the rows beside it on this processor"
        return None


def as_recorded(tensor: Tensor, info: ModuleInfo, name: str) -> Tensor:
    """A module's parameter or buffer in the dtype that it had when the module was described, if it was widened since:
    what starts from it is the same on every machine."""
    recorded = info.parameters.get(name) or info.buffers.get(name)
    dtype = tensor.dtype if recorded is None else dtype_named(recorded.dtype)
    return tensor.to(dtype) if dtype in HALVES and tensor.dtype == torch.float32 else tensor


def _only_packed(module: nn.Module, packed: dict[nn.Linear, WideForward]) -> frozenset[int]:
    """Ids of weights that only packed layers have, and that stay as they are stored. The first parameter isn't one of
    them, because models read by it what they compute in."""
    ours = {id(layer.weight) for layer in packed}
    others = {
        id(parameter)
        for owner in module.modules()
        for name, parameter in owner.named_parameters(recurse=False)
        if not (owner in packed and name == "weight")
    }
    first = next(module.parameters(), None)
    return frozenset(ours - others - {id(first)})


def _half_buffers(module: nn.Module) -> Iterator[tuple[nn.Module, str, Tensor]]:
    for owner in module.modules():
        for name, buffer in owner.named_buffers(recurse=False):
            if buffer.dtype in HALVES:
                yield owner, name, buffer


def _widened(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in HALVES else tensor
