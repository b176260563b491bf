"""A model that writes, its adapters, and one step of running sequences beside the same rows alone."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from tolerance import assert_same
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from models_registry.adapters.catalog import parse_config
from models_registry.injection import AdaptedModel, Composition
from models_registry.injection.routing.sequence_routing import SequenceRouting

ROWS, WORDS = 8, 11
LAYERS = ["one", "two"]
LORA: dict[str, Any] = {"peft_type": "LORA", "r": 2, "init_lora_weights": False, "target_modules": LAYERS}
IA3: dict[str, Any] = {"peft_type": "IA3", "target_modules": LAYERS, "init_ia3_weights": False}
ADAPTERS: Mapping[str, dict[str, Any]] = {
    "lora": LORA,
    "other": LORA,
    "wide": {**LORA, "r": 35},
    "patterned": {**LORA, "rank_pattern": {"one": 17}, "alpha_pattern": {"two": 1}},
    "partial": {**LORA, "target_modules": ["two"]},
    "ada": {"peft_type": "ADALORA", "init_r": 3, "lora_alpha": 2, "init_lora_weights": False, "target_modules": LAYERS},
    "dora": {**LORA, "use_dora": True},
    "biased": {**LORA, "lora_bias": True},
    "embedded": {**LORA, "target_modules": ["embedding", "one"]},
    "saved": {**LORA, "target_modules": ["one"], "modules_to_save": ["two"]},
    "tokens": {**LORA, "trainable_token_indices": {"embedding": [1, 4]}},
    "ia3": {**IA3, "feedforward_modules": []},
    "ia3 of inputs": {**IA3, "feedforward_modules": ["two"]},
}
COMPOSITIONS: Sequence[Composition] = [
    {},
    *({name: 1.0} for name in ADAPTERS),
    {"lora": 0.5, "wide": -2.0},
    {"lora": 0.5},
    {"ada": 1.0, "partial": 0.1},
]


class Model(nn.Module):
    """Token ids in; the same number of rows out."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 16)
        self.one = nn.Linear(16, 24)
        self.two = Conv1D(20, 24)

    def forward(self, ids: Tensor) -> Tensor:
        return self.two(torch.tanh(self.one(self.embedding(ids))))


def adapt(names: Sequence[str] = tuple(ADAPTERS), dtype: torch.dtype = torch.float64) -> AdaptedModel:
    torch.manual_seed(0)
    adapted = AdaptedModel(Model().eval().requires_grad_(False).to(dtype))
    for seed, name in enumerate(names):
        adapted.inject_adapter(name, parse_config(ADAPTERS[name]), seed=seed)
    return adapted


def token_ids(rows: int, tokens: int = 1) -> Tensor:
    return torch.arange(rows * tokens).view(rows, tokens) * 3 % WORDS


@torch.inference_mode()
def step(adapted: AdaptedModel, sequences: SequenceRouting, rows: int = ROWS, tokens: int = 1) -> Tensor:
    with sequences.active(rows):
        return adapted.module(token_ids(rows, tokens))


@torch.inference_mode()
def alone(adapted: AdaptedModel, composition: Composition, ids: Tensor) -> Tensor:
    with adapted.routed_whole(composition):
        return adapted.module(ids)


def assert_each_is_alone(adapted: AdaptedModel, out: Tensor, rows: Sequence[Composition], tokens: int = 1) -> None:
    ids = token_ids(len(rows), tokens)
    for row, composition in enumerate(rows):
        assert_same(out[row : row + 1], alone(adapted, composition, ids[row : row + 1]))
