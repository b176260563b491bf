"""The contract that lora.py, adalora.py and ia3.py fulfil, and the folded form that serving computes with.

A method file knows its config, which layers it takes, its initial weights, the keys and shapes of its state dict, its
own forward formula, and how it folds into a `Folded`. It knows nothing of modules trees, batches or HTTP.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from models_registry.records import LayerKind, ModuleInfo


@dataclass(frozen=True, slots=True)
class LowRank:
    """`scaling · up(down(x))`. Linear: down `[r, in]`, up `[out, r]`. Convolution: down has the base's kernel, up is 1x1.
    Embedding: down `[r, num]`, up `[dim, r]`."""

    down: Tensor
    up: Tensor
    scaling: float


@dataclass(frozen=True, slots=True)
class Folded:
    """What one adapter does at one target, in the form that serving computes with; absent parts are None.

    `y = (base(x ∘ input_scale) ∘ output_scale) + low_rank(x)`; the scales are vectors over features or channels.
    """

    low_rank: LowRank | None = None
    input_scale: Tensor | None = None
    output_scale: Tensor | None = None
