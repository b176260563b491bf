"""Measures up to where stacking is the faster kernel: on the model's own device, in its dtype, at its usual width.

Takes a fraction of a second, once, on tensors of its own: no forward of the model.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor, nn

from models_registry.adapters.folded import LowRank, serving_dtype
from models_registry.injection.kernels.kernel_table import KernelTable
from models_registry.injection.kernels.segmented import add_in_segments, add_linear
from models_registry.injection.kernels.stacked_lora import LowRankDelta, StackedLoRA
from models_registry.records import Architecture

RANK = 16
STEPS: Final[Mapping[int, Sequence[int]]] = {1: (1, 16, 128), 4: (1, 16, 64), 16: (1, 8, 32)}
"""By the number of adapters: at how many tokens of each of them the kernels are compared."""
RUNS = 4
NEARLY = 1.1
"""Times may differ by so much by chance."""
LIMIT_S = 0.15
"""No comparison begins later, and none lasts longer than one run of both kernels."""


@dataclass(frozen=True, slots=True)
class Site:
    """What most of the model's linear layers are like."""

    width_in: int
    width_out: int
    dtype: torch.dtype
    device: torch.device

    def zeros(self, *shape: int, wide: bool = False) -> Tensor:
        """`wide`: in the adapters' dtype."""
        dtype = serving_dtype(self.dtype) if wide else self.dtype
        return torch.zeros(shape, dtype=dtype, device=self.device)

    def low_rank(self) -> LowRank:
        return LowRank(self.zeros(RANK, self.width_in, wide=True), self.zeros(self.width_out, RANK, wide=True), 1.0)


def calibrate(
    module: nn.Module, architecture: Architecture, table: KernelTable, limit_s: float = LIMIT_S
) -> KernelTable:
    """`table` with measured numbers where `limit_s` sufficed to measure; as it is for a model without linear layers."""
    site = _usual_site(module, architecture)
    if site is None:
        return table
    with torch.inference_mode():
        return replace(table, stacked_up_to={**table.stacked_up_to, **_measured(site, limit_s)})


def _usual_site(module: nn.Module, architecture: Architecture) -> Site | None:
    widths = Counter((m.in_features, m.out_features) for m in architecture.modules if m.kind in ("linear", "hf_conv1d"))
    # torch computes with none of the 8-bit floats.
    computed = (one for one in module.parameters() if one.is_floating_point() and one.dtype.itemsize > 1)
    parameter = next(computed, None)
    if not widths or parameter is None:
        return None
    ((width_in, width_out), _), *_ = widths.most_common(1)
    return Site(width_in, width_out, parameter.dtype, parameter.device)


def _measured(site: Site, limit_s: float) -> Mapping[int, int]:
    """By numbers of adapters: the most tokens at which stacking was not the slower way, as at all fewer."""
    deadline = time.perf_counter() + limit_s
    measured: dict[int, int] = {}
    paying = set(STEPS)
    # The fewest tokens first, for all: a generation's steps are what stacking is for.
    for step in zip(*STEPS.values(), strict=True):
        for adapters, tokens in zip(STEPS, step, strict=True):
            if adapters not in paying or time.perf_counter() >= deadline:
                continue
            if _stacking_pays(site, adapters, tokens, deadline):
                measured[adapters] = tokens
            else:
                measured.setdefault(adapters, 0)
                paying.remove(adapters)
    return measured


def _stacking_pays(site: Site, adapters: int, tokens: int, deadline: float) -> bool:
    parts = [LowRankDelta(slice(at, at + 1), ((site.low_rank(), 1.0),)) for at in range(adapters)]
    x, out = site.zeros(adapters, tokens, site.width_in), site.zeros(adapters, tokens, site.width_out)
    stack, layer = StackedLoRA.of(parts), nn.Identity()
    in_segments, stacked = _seconds(
        (lambda: add_in_segments(out, x, parts, adapters, add_linear, layer), lambda: stack.add(out, x)),
        site.device,
        deadline,
    )
    return stacked <= NEARLY * in_segments


def _seconds(works: Sequence[Callable[[], None]], device: torch.device, deadline: float) -> list[float]:
    """The best of a few runs of each, in turn, for what else runs on a machine only ever adds. The first warms up."""
    best = [float("inf")] * len(works)
    for run in range(1 + RUNS):
        for which, work in enumerate(works):
            begun = time.perf_counter()
            work()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if run:
                best[which] = min(best[which], time.perf_counter() - begun)
        if run and time.perf_counter() >= deadline:
            break
    return best
