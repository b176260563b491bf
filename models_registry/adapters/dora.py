"""DoRA (Liu et al. 2024): a weight's magnitude per output feature is learnt apart from its direction.

`W' = magnitude · (W + sBA) / ‖W + sBA‖`, the norm over each output feature's own weights (a convolution's output
channel, an embedding's column). It is taken as a constant in training, as in the paper's section 4.3.
"""

import torch
from torch import Tensor, nn

from models_registry.adapters.folded import Folded, LowRank, serving_dtype
from models_registry.records import LayerKind


def magnitude_of(weight: Tensor, low_rank: LowRank, kind: LayerKind) -> Tensor:
    """`‖W + sBA‖` `[out]`, in float32 or the weight's dtype if that is wider: the magnitude that changes nothing."""
    dtype = serving_dtype(weight.dtype)
    rows = weight.T if kind in ("hf_conv1d", "embedding") else weight.flatten(1)  # [out, in·k…]; embedding: [dim, num]
    # A grouped convolution's B is [out, r/groups], which PEFT lays out like this before it trains with the norm.
    product = low_rank.up.reshape(-1, len(low_rank.down)).to(dtype) @ low_rank.down.flatten(1).to(dtype)
    return torch.linalg.vector_norm(rows.to(dtype) + low_rank.scaling * product.view_as(rows), dim=1)


def fold_dora(low_rank: LowRank, magnitude: Tensor, layer: nn.Module, kind: LayerKind) -> Folded:
    """`y = m·(Wx) + b + m·s·BAx` as an output scale m, a shift b·(1 - m), and a low-rank part with B scaled by m."""
    weight, bias = layer.get_parameter("weight"), getattr(layer, "bias", None)
    here = low_rank.map(lambda tensor: tensor.to(weight.device))
    unchanged = magnitude_of(weight, here, kind).detach()
    m = magnitude.flatten().to(unchanged) / unchanged  # [out]
    up = here.up * m.view(-1, *(1,) * (here.up.dim() - 1))
    shift = None if bias is None else bias.to(m.dtype) * (1 - m)
    return Folded(LowRank(here.down, up, here.scaling), output_scale=m, output_shift=shift)
