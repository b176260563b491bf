"""What is LoRA's own, apart from what parity with PEFT shows: shapes, scaling, and how the first weights spread."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models_registry.adapters.catalog import parse_config
from models_registry.adapters.checkpoint import fresh_checkpoint
from models_registry.adapters.lora import LoraConfig
from models_registry.architecture import describe
from models_registry.records import ModuleInfo

LINEAR = ModuleInfo("block.linear", "Linear", "linear", 400, 300)
CONV = ModuleInfo("conv", "Conv2d", "conv2d", 8, 12, (3, 2), 4)
EMBEDDING = ModuleInfo("embedding", "Embedding", "embedding", 50, 30)


def lora(**fields: Any) -> LoraConfig:
    config = parse_config({"peft_type": "LORA", "target_modules": ["layer"], **fields})
    assert isinstance(config, LoraConfig)
    return config


def draw(layer: nn.Module, **fields: Any) -> list[Tensor]:
    return list(fresh_checkpoint(lora(**fields), describe(nn.ModuleDict({"layer": layer})), 0).tensors.values())


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (LINEAR, {"lora_A.weight": (4, 400), "lora_B.weight": (300, 4)}),
        (CONV, {"lora_A.weight": (4, 8, 3, 2), "lora_B.weight": (12, 1, 1, 1)}),
        (EMBEDDING, {"lora_embedding_A": (4, 50), "lora_embedding_B": (30, 4)}),
    ],
)
def test_shapes_follow_the_layer(target: ModuleInfo, expected: dict[str, tuple[int, ...]]) -> None:
    assert lora(r=4).shapes(target) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"r": 4, "lora_alpha": 6}, 1.5),
        ({"r": 4, "lora_alpha": 6, "use_rslora": True}, 3.0),
        ({"r": 4, "lora_alpha": 6, "rank_pattern": {"linear": 9}}, 6 / 9),
        ({"r": 4, "lora_alpha": 6, "rank_pattern": {"linear": 9}, "use_rslora": True}, 2.0),
        ({"r": 4, "lora_alpha": 6, "alpha_pattern": {"block": 1, "linear": 2}}, 0.5),
        ({"r": 4, "lora_alpha": -2}, -0.5),
        ({"r": 4, "lora_alpha": 6, "alpha_pattern": {"linear": 0}}, 0.0),
    ],
)
def test_scaling_is_alpha_over_the_rank_or_its_root(fields: dict[str, Any], expected: float) -> None:
    assert lora(**fields).scaling(LINEAR) == pytest.approx(expected)


def test_a_rank_that_the_groups_do_not_divide_is_refused() -> None:
    assert "groups" in (lora(r=6).refusal(CONV) or "")
    assert lora(r=8).refusal(CONV) is None
    assert "groups" in (lora(r=8, rank_pattern={"conv": 2}).refusal(CONV) or "")


@pytest.mark.parametrize(
    ("layer", "fan_in"),
    [(nn.Linear(400, 300), 400), (nn.Conv1d(80, 60, 3), 240), (nn.Conv2d(80, 60, 3, groups=2), 720)],
)
def test_by_default_a_is_uniform_by_its_fan_in_and_b_is_zero(layer: nn.Module, fan_in: int) -> None:
    a, b = draw(layer, r=16)
    bound = 1 / math.sqrt(fan_in)
    assert float(a.abs().max()) <= bound
    assert float(a.std()) == pytest.approx(bound / math.sqrt(3), rel=0.05)
    assert not b.any()


def test_gaussian_has_a_spread_of_one_over_the_rank() -> None:
    a, b = draw(nn.Linear(400, 300), r=16, init_lora_weights="gaussian")
    assert float(a.std()) == pytest.approx(1 / 16, rel=0.05)
    assert float(a.abs().max()) > 3 / 16
    assert not b.any()


def test_false_draws_both() -> None:
    a, b = draw(nn.Linear(400, 300), r=16, init_lora_weights=False)
    assert float(a.abs().max()) <= 1 / math.sqrt(400)
    assert float(b.std()) == pytest.approx(1 / math.sqrt(16 * 3), rel=0.05)


@pytest.mark.parametrize("init", [True, "gaussian"])
def test_an_embedding_begins_with_a_of_zeros(init: bool | str) -> None:
    a, b = draw(nn.Embedding(500, 300), r=16, init_lora_weights=init)
    assert not a.any()
    assert float(b.std()) == pytest.approx(1, rel=0.05)


def test_orthogonal_halves_don_not_overlap() -> None:
    """B·A is zero on the whole: A's ranks lie in the even rows of an orthogonal matrix, B's in the odd ones."""
    a, b = draw(nn.Linear(400, 300), r=8, init_lora_weights="orthogonal")
    assert a.any()
    assert b.any()
    assert float((b @ a).abs().max()) < 1e-5
    assert torch.linalg.matrix_rank(a) == torch.linalg.matrix_rank(b) == 4
