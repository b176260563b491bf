"""What is AdaLoRA's own, apart from what parity with PEFT shows: masks, shapes, initial weights."""

from typing import Any

import pytest
import torch
from torch import nn

from models_registry.adapters.adalora import AdaLoraConfig
from models_registry.adapters.catalog import parse_config
from models_registry.adapters.checkpoint import fresh_checkpoint
from models_registry.architecture import describe
from models_registry.records import ModuleInfo

LINEAR = ModuleInfo("block.linear", "Linear", "linear", 5, 7)
CONV = ModuleInfo("conv", "Conv2d", "conv2d", 4, 6, (3, 2))
MASK = [True, False, True]


def adalora(**fields: Any) -> AdaLoraConfig:
    config = parse_config({"peft_type": "ADALORA", "target_modules": ["layer"], "init_r": 3, **fields})
    assert isinstance(config, AdaLoraConfig)
    return config


@pytest.mark.parametrize(
    "key",
    ["block.linear.lora_E", "block.linear.lora_E.default", "base_model.model.block.linear.lora_E.default"],
)
def test_a_mask_is_found_under_each_name_that_peft_gives_it(key: str) -> None:
    config = adalora(rank_pattern={key: MASK})
    assert config.rank(LINEAR) == 2
    assert config.rank(CONV) == 3


@pytest.mark.parametrize("rank", [0, 1, 3])
def test_shapes_follow_the_ranks_that_are_left(rank: int) -> None:
    config = adalora(rank_pattern={"block.linear.lora_E": [index < rank for index in range(3)]})
    assert config.shapes(LINEAR) == {"lora_A": (rank, 5), "lora_B": (7, rank), "lora_E": (rank, 1)}


def test_a_convolutions_a_spans_its_kernel() -> None:
    assert adalora().shapes(CONV) == {"lora_A": (3, 4 * 3 * 2), "lora_B": (6, 3), "lora_E": (3, 1)}


@pytest.mark.parametrize("mask", [[True], [True] * 4, []])
def test_a_mask_has_one_entry_per_initial_rank(mask: list[bool]) -> None:
    refusal = adalora(rank_pattern={"block.linear.lora_E": mask}).refusal(LINEAR)
    assert refusal is not None
    assert "init_r is 3" in refusal


def test_the_plain_rank_is_not_read() -> None:
    assert adalora(r=50).shapes(LINEAR) == adalora().shapes(LINEAR)


def test_values_begin_at_zero_and_vectors_small() -> None:
    base = describe(nn.ModuleDict({"layer": nn.Linear(400, 300)}))
    tensors = fresh_checkpoint(adalora(init_r=16), base, 0).tensors
    assert not tensors["layer.lora_E"].any()
    assert float(tensors["layer.lora_A"].std()) == pytest.approx(0.02, rel=0.05)
    assert float(tensors["layer.lora_B"].std()) == pytest.approx(0.02, rel=0.05)


def test_without_initialisation_all_are_drawn() -> None:
    base = describe(nn.ModuleDict({"layer": nn.Linear(400, 300)}))
    tensors = fresh_checkpoint(adalora(init_r=16, init_lora_weights=False), base, 0).tensors
    assert bool(tensors["layer.lora_E"].all())
    assert float(tensors["layer.lora_A"].std()) == pytest.approx(1, rel=0.05)
    assert torch.isfinite(tensors["layer.lora_B"]).all()
