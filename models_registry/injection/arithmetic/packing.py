"""Linear layers that read float16 copies of their weights and compute in float32 (FBGEMM's, on a CPU).

A copy lies inside the layer's own forward: the layer stays the same object and class, and its state dict stays too.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from models_registry.adapters.copies import WideForward

ENGINE: Final = "fbgemm"
AWKWARD: Final = (65504.0, -65504.0, 2.0**-24, -(2.0**-24), 2.0**-14, 1023 * 2.0**-24, 1 + 2.0**-10, 0.0)
"""float16's largest, smallest and subnormal numbers."""
COMPARED: Final = 64
PARTS: Final = (slice(0, 1), slice(2, 5), slice(5, 9), slice(16, 32))


def can_pack(module: nn.Module) -> bool:
    """Whether it is a plain linear layer that nothing else answers for."""
    return type(module) is nn.Linear and "forward" not in vars(module) and "weight" in dict(module.named_parameters())


def survives_float16(weight: Tensor) -> bool:
    """Whether each of its numbers is one of float16's."""
    return torch.equal(weight.half().to(weight.dtype), weight)


def pack(layer: nn.Linear, weight: Tensor, bias: Tensor | None) -> WideForward:
    """A forward for `layer` by a float16 copy of `weight`; `weight` and `bias` are in float32.

    Raises `RuntimeError` where torch or the processor can't do it.
    """
    return WideForward(_multiply, torch.ops.quantized.linear_prepack_fp16(weight, bias))


def packing_refusal() -> str | None:
    """Why nothing can be packed here, if so: tried out rather than assumed."""
    if ENGINE not in torch.backends.quantized.supported_engines:
        return "this build of torch has no FBGEMM"
    weight = torch.tensor(AWKWARD).repeat(len(AWKWARD), 1)
    layer = nn.Linear(len(AWKWARD), len(AWKWARD))
    try:
        read = pack(layer, weight, None)(torch.eye(len(AWKWARD)))
    except RuntimeError as error:  # of a processor that it has no kernel for
        return f"FBGEMM doesn't run on this processor ({error})"
    return None if torch.equal(read.T, weight) else "FBGEMM changes some of float16's numbers on this processor"


def rows_stay_equal(packed: Mapping[nn.Linear, WideForward]) -> bool:
    """Whether rows have the same bits alone as among others, at each width."""
    by_widths = {(layer.in_features, layer.out_features): forward for layer, forward in packed.items()}
    for (width, _), forward in by_widths.items():
        x = torch.randn(COMPARED, width, generator=torch.Generator().manual_seed(0))
        whole: Tensor = forward(x)
        if not all(torch.equal(forward(x[part]), whole[part]) for part in PARTS):
            return False
    return True


def packed_bytes(layers: Sequence[nn.Linear]) -> int:
    return sum(2 * layer.in_features * layer.out_features for layer in layers)


def _multiply(packed: Any, input: Tensor) -> Tensor:  # noqa: A002 - as `nn.Linear` calls it
    product: Tensor = torch.ops.quantized.linear_dynamic_fp16(input.float(), packed)
    return product
