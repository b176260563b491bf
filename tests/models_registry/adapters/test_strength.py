"""Norms, effective ranks and differences, beside those of the whole ΔW."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models_registry.adapters.catalog import parse_config
from models_registry.adapters.checkpoint import Checkpoint, fresh_checkpoint
from models_registry.adapters.lora import OUT_PROJ_FACTOR
from models_registry.adapters.strength import differences, strengths
from models_registry.architecture import describe

LORA: dict[str, Any] = {"peft_type": "LORA", "r": 3, "lora_alpha": 6, "init_lora_weights": False}
ADALORA: dict[str, Any] = {"peft_type": "ADALORA", "init_r": 3, "init_lora_weights": False, "total_step": 10}
IA3: dict[str, Any] = {"peft_type": "IA3", "feedforward_modules": [], "init_ia3_weights": False}


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 6)
        self.conv = nn.Conv2d(2, 5, 3)
        self.embedding = nn.Embedding(7, 4)
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)


ARCHITECTURE = describe(Net())


def made(config: dict[str, Any], seed: int = 1) -> Checkpoint:
    return fresh_checkpoint(parse_config(config), ARCHITECTURE, seed)


def whole(checkpoint: Checkpoint, target: str) -> Tensor:
    """ΔW as PEFT makes it: scaling·B·A, flattened to two dimensions."""
    own = {key.removeprefix(f"{target}."): tensor.double() for key, tensor in checkpoint.tensors.items()}
    a = own.get("lora_A.weight", own.get("lora_embedding_A"))
    b = own.get("lora_B.weight", own.get("lora_embedding_B"))
    assert a is not None
    assert b is not None
    return 2.0 * b.flatten(1) @ a.flatten(1)


def entropy_rank(delta: Tensor) -> float:
    shares = torch.linalg.svdvals(delta)
    shares = shares[shares > 1e-12] / shares.sum()
    return float((-(shares * shares.log()).sum()).exp())


@pytest.mark.parametrize("target", ["linear", "conv", "embedding"])
def test_strength_is_that_of_the_whole_change(target: str) -> None:
    checkpoint = made({**LORA, "target_modules": [target]})
    delta = whole(checkpoint, target)
    (found,) = strengths(checkpoint)
    assert found.target == target
    assert found.norm == pytest.approx(float(delta.norm()), rel=1e-9)
    assert found.effective_rank == pytest.approx(entropy_rank(delta), rel=1e-6)


@pytest.mark.parametrize("target", ["linear", "conv", "embedding"])
def test_a_difference_is_that_of_both_whole_changes(target: str) -> None:
    config = {**LORA, "target_modules": [target]}
    one, two = made(config, 1), made({**config, "r": 2, "lora_alpha": 4}, 2)
    old, new = whole(one, target), whole(two, target)
    (found,) = differences(one, two)
    assert found.change == pytest.approx(float((new - old).norm()), rel=1e-9)
    cosine = float((old * new).sum() / (old.norm() * new.norm()))
    assert found.cosine == pytest.approx(cosine, abs=1e-9)


def test_what_is_equal_has_not_changed() -> None:
    checkpoint = made({**ADALORA, "target_modules": ["linear"]})
    (found,) = differences(checkpoint, checkpoint)
    assert found.change == pytest.approx(0.0, abs=1e-7)
    assert found.cosine == pytest.approx(1.0)


def test_an_attention_module_counts_both_of_its_changes() -> None:
    checkpoint = made({**LORA, "target_modules": ["attention"]})
    own = {key.removeprefix("attention."): tensor.double() for key, tensor in checkpoint.tensors.items()}
    in_proj = 2.0 * own["lora_B.weight"] @ own["lora_A.weight"]
    out = "base_layer.out_proj"
    out_proj = OUT_PROJ_FACTOR * 2.0 * own[f"{out}.lora_B.weight"] @ own[f"{out}.lora_A.weight"]
    (found,) = strengths(checkpoint)
    assert found.norm == pytest.approx(float((in_proj.norm() ** 2 + out_proj.norm() ** 2).sqrt()), rel=1e-9)


def test_ia3_is_measured_by_its_distance_from_one() -> None:
    checkpoint = made({**IA3, "target_modules": ["linear"]})
    (tensor,) = checkpoint.tensors.values()
    (found,) = strengths(checkpoint)
    assert found.norm == pytest.approx(float((tensor.double() - 1).norm()))
    assert found.effective_rank is None


def test_targets_of_one_side_only_are_listed_too() -> None:
    found = differences(made({**LORA, "target_modules": ["linear"]}), made({**LORA, "target_modules": ["embedding"]}))
    assert {d.target: (d.before is None, d.after is None, d.cosine) for d in found} == {
        "linear": (False, True, None),
        "embedding": (True, False, None),
    }
    for difference in found:
        side = difference.before or difference.after
        assert side is not None
        assert difference.change == pytest.approx(side.norm)


def test_no_change_at_all_has_no_direction() -> None:
    fresh = made({**LORA, "init_lora_weights": True, "target_modules": ["linear"]})
    (found,) = strengths(fresh)
    assert (found.norm, found.effective_rank) == (0.0, None)
