"""A model whose adapters can be merged, and compositions that are wanted often enough to be."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from models_registry.adapters.catalog import parse_config
from models_registry.injection import AdaptedModel, Composition
from models_registry.injection.kernels.kernel_table import KernelTable
from models_registry.injection.merged.merged_weights_cache import (
    HOT_AFTER,
)

TARGETS = ["one", "two"]
LORA: dict[str, Any] = {"peft_type": "LORA", "r": 2, "init_lora_weights": False, "target_modules": TARGETS}
IA3: dict[str, Any] = {"peft_type": "IA3", "target_modules": TARGETS, "init_ia3_weights": False}
ADAPTERS: Mapping[str, dict[str, Any]] = {
    "lora": LORA,
    "dora": {**LORA, "use_dora": True},
    "biased": {**LORA, "lora_bias": True},
    "own biases": {**LORA, "bias": "all"},
    "ada": {**LORA, "peft_type": "ADALORA", "init_r": 3, "lora_alpha": 2},
    "ia3": {**IA3, "feedforward_modules": []},
    "ia3 feedforward": {**IA3, "feedforward_modules": ["two"]},
    "embedding too": {**LORA, "target_modules": [*TARGETS, "embedding"]},
    "head of its own": {**LORA, "modules_to_save": ["head"]},
}
MIXTURES: Mapping[str, Composition] = {name: {name: 1.0} for name in ADAPTERS} | {
    "weighted": {"lora": -0.5},
    "composition": {"lora": 0.5, "ada": -1.0},
}
IDS = torch.arange(12).view(4, 3) % 11
ROOM = KernelTable(max_merged_bytes=1 << 20)
BYTES = (8 * 6 + 6 * 8) * 8
"""Of the copies of both targets."""


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.one = nn.Linear(6, 8, bias=False)
        self.two = Conv1D(6, 8)
        self.head = nn.Linear(6, 3)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.two(torch.tanh(self.one(self.embedding(ids)))))


def adapt(dtype: torch.dtype = torch.float64) -> AdaptedModel:
    torch.manual_seed(0)
    adapted = AdaptedModel(Model().eval().to(dtype))
    for seed, (name, raw) in enumerate(ADAPTERS.items()):
        tensors = adapted.inject_adapter(name, parse_config(raw), seed=seed).tensors
        adapted.load_adapter_state_dict(name, {key: tensor * 0.15 for key, tensor in tensors.items()})
    adapted.kernels = ROOM
    return adapted


@torch.no_grad()
def run(adapted: AdaptedModel, composition: Composition, times: int = 1) -> Tensor:
    outputs: list[Tensor] = []
    for _ in range(times):
        with adapted.routed_whole(composition):
            outputs.append(adapted.module(IDS))
    return outputs[-1]


def heat(adapted: AdaptedModel, composition: Composition) -> Tensor:
    """The output of a routing that begins when all is merged."""
    return run(adapted, composition, HOT_AFTER + 2)
