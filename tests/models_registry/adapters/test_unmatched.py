"""What a config names and the base model lacks: refused, or taken with warnings where a caller accepts it."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models_registry.adapters.catalog import parse_config
from models_registry.adapters.checkpoint import fresh_checkpoint, match_checkpoint
from models_registry.architecture import describe
from models_registry.errors import Invalid
from models_registry.records import Architecture

LORA: dict[str, Any] = {"peft_type": "LORA", "r": 2, "target_modules": ["linear"]}
IA3: dict[str, Any] = {"peft_type": "IA3", "target_modules": ["linear"], "feedforward_modules": []}
ABSENT: dict[str, tuple[dict[str, Any], str]] = {
    "a target": ({**LORA, "target_modules": ["linear", "w1"]}, "target_modules: 'w1' matches none of"),
    "a feed-forward layer": ({**IA3, "feedforward_modules": ["w1"]}, "feedforward_modules: 'w1' matches none of"),
    "a saved module": ({**LORA, "modules_to_save": ["norm_f", "other"]}, "modules_to_save: 'norm_f' matches no"),
    "a rank": ({**LORA, "rank_pattern": {"w1": 4}}, "rank_pattern.w1: matches none of the targets"),
    "a scaling": ({**LORA, "alpha_pattern": {"w1": 4}}, "alpha_pattern.w1: matches none of the targets"),
    "a layer": (
        {**LORA, "target_modules": ["q"], "layers_to_transform": [0, 5]},
        "layers_to_transform: the base model has no layer 5",
    ),
}


@pytest.fixture(scope="module")
def module() -> nn.Module:
    torch.manual_seed(0)
    tower = nn.ModuleDict({"layers": nn.ModuleList([nn.ModuleDict({"q": nn.Linear(4, 4)})])})
    return nn.ModuleDict(
        {"linear": nn.Linear(4, 5), "other": nn.Linear(5, 4), "tower": tower},
    )


@pytest.fixture(scope="module")
def base(module: nn.Module) -> Architecture:
    return describe(module)


def tensors_for(raw: dict[str, Any], module: nn.Module, base: Architecture) -> dict[str, Tensor]:
    weights = dict(module.named_parameters())
    return dict(fresh_checkpoint(parse_config(raw), base, 1, weights.__getitem__, accept_unmatched=True).tensors)


@pytest.mark.parametrize(("raw", "warning"), ABSENT.values(), ids=ABSENT.keys())
def test_what_the_base_lacks_is_refused_unless_it_is_accepted(
    module: nn.Module, base: Architecture, raw: dict[str, Any], warning: str
) -> None:
    config, tensors = parse_config(raw), tensors_for(raw, module, base)
    with pytest.raises(Invalid) as caught:
        match_checkpoint(config, tensors, base)
    assert [
        f"{'.'.join(map(str, fault.loc[1:]))}: {fault.message}"[: len(warning)] for fault in caught.value.faults
    ] == [warning]
    assert caught.value.hint is not None
    assert "accept_unmatched" in caught.value.hint
    accepted = match_checkpoint(config, tensors, base, accept_unmatched=True)
    (found,) = accepted.warnings
    assert found.startswith(warning)
    assert accepted.config == config


def test_a_tensor_of_what_the_base_lacks_is_refused_all_the_same(module: nn.Module, base: Architecture) -> None:
    raw = {**LORA, "target_modules": ["linear", "w1"]}
    tensors = {**tensors_for(raw, module, base), "w1.lora_A.weight": torch.ones(2, 4)}
    with pytest.raises(Invalid) as caught:
        match_checkpoint(parse_config(raw), tensors, base, accept_unmatched=True)
    assert [fault.loc for fault in caught.value.faults] == [("weights", "w1.lora_A.weight")]


def test_a_config_that_names_nothing_at_all_is_refused_all_the_same(base: Architecture) -> None:
    with pytest.raises(Invalid) as caught:
        fresh_checkpoint(parse_config({**LORA, "target_modules": ["w1"]}), base, 1, accept_unmatched=True)
    assert caught.value.hint is None


@pytest.mark.parametrize("excluded", [["vision_tower"], r"vision_tower\..*"])
def test_what_excludes_nothing_is_a_warning(module: nn.Module, base: Architecture, excluded: Any) -> None:
    raw = {**LORA, "exclude_modules": excluded}
    (warning,) = match_checkpoint(parse_config(raw), tensors_for(raw, module, base), base).warnings
    assert warning.startswith("exclude_modules: 'vision_tower")


@pytest.mark.parametrize("excluded", [["other"], r"oth.*"])
def test_what_excludes_something_is_none(module: nn.Module, base: Architecture, excluded: Any) -> None:
    raw = {**LORA, "exclude_modules": excluded}
    assert not match_checkpoint(parse_config(raw), tensors_for(raw, module, base), base).warnings
