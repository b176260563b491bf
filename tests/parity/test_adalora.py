"""Pruned AdaLoRA: the ranks that are gone add nothing, and the divisor stays what it was."""

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from parity.architectures import architecture, token_ids
from parity.layers import ADALORA, ADALORA_LAYERS, Layer
from parity.oracle import (
    assert_differs,
    assert_same_tensors,
    ours,
    peft_config,
    peft_model,
    peft_state,
    randomise,
    run,
    run_ours,
)
from tolerance import assert_same
from torch import Tensor, nn

from models_registry.adapters.catalog import parse_config
from models_registry.injection import AdaptedModel
from models_registry.safetensors_files import read_safetensors

MASKS = {"two of three": [True, False, True], "all": [True] * 3, "one": [False, True, False]}


def pruned(state: Mapping[str, Tensor], mask: list[bool]) -> dict[str, Tensor]:
    keep = torch.tensor(mask)
    return {key: tensor[:, keep] if "lora_B" in key else tensor[keep] for key, tensor in state.items()}


def mute(model: nn.Module, mask: list[bool]) -> None:
    """What PEFT's pruning does while it trains: the values of dropped ranks are zero, their number stays."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_E" in name:
                parameter[~torch.tensor(mask)] = 0


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS.keys())
@pytest.mark.parametrize("layer", ADALORA_LAYERS.values(), ids=ADALORA_LAYERS.keys())
def test_a_pruned_adapter_computes_what_peft_computes_with_the_same_ranks_muted(layer: Layer, mask: list[bool]) -> None:
    base, inputs = layer.base(), layer.inputs()
    theirs = peft_model(base, ADALORA)
    state = pruned(peft_state(theirs), mask)
    mute(theirs, mask)
    adapted = ours(base, {**ADALORA, "rank_pattern": {"layer.lora_E": mask}}, state)
    expected = run(theirs, inputs)
    assert_same(run_ours(adapted, inputs), expected)
    assert_differs(expected, run(base, inputs))
    assert_same_tensors(adapted.adapter_state_dict("x"), state)


@pytest.mark.parametrize("layer", ADALORA_LAYERS.values(), ids=ADALORA_LAYERS.keys())
def test_an_adapter_pruned_to_nothing_is_the_base(layer: Layer) -> None:
    base, inputs = layer.base(), layer.inputs()
    none = [False] * 3
    state = pruned(peft_state(peft_model(base, ADALORA)), none)
    adapted = ours(base, {**ADALORA, "rank_pattern": {"layer.lora_E": none}}, state)
    assert torch.equal(run_ours(adapted, inputs), run(base, inputs))
    assert all(tensor.numel() == 0 for tensor in adapted.adapter_state_dict("x").values())


@pytest.mark.parametrize("alpha", [8, 1, 0, -2])
def test_an_alpha_of_zero_or_less_scales_by_the_rank(alpha: int) -> None:
    layer = ADALORA_LAYERS["linear"]
    raw = {**ADALORA, "lora_alpha": alpha, "r": 50}
    base, inputs = layer.base(), layer.inputs()
    theirs = peft_model(base, raw)
    assert_same(run_ours(ours(base, raw, peft_state(theirs)), inputs), run(theirs, inputs))


@pytest.mark.filterwarnings("ignore:Adapter 'default'.* have invalid shape")  # PEFT's own pruned ranks alarm it
def test_what_peft_saves_of_a_pruned_adapter_is_read(tmp_path: Path) -> None:
    """Ranks differ from target to target, and one has none left."""
    raw: dict[str, Any] = {**ADALORA, "target_modules": ["q_proj"]}
    config = peft_config(raw)
    base, inputs = architecture("llama"), token_ids("llama")
    theirs = peft.PeftModel(copy.deepcopy(base), config, autocast_adapter_dtype=False)
    randomise(theirs)
    masks = {
        f"model.layers.{layer}.self_attn.q_proj.lora_E.default": mask
        for layer, mask in enumerate([[True, False, True], [False] * 3, [True] * 3])
    }
    config.rank_pattern = masks  # pyright: ignore[reportAttributeAccessIssue] - AdaLoraConfig's field
    with torch.no_grad():
        for name, mask in masks.items():
            theirs.get_parameter(f"base_model.model.{name}")[~torch.tensor(mask)] = 0
    theirs.save_pretrained(str(tmp_path))
    adapted, saved = read(tmp_path, base)
    assert saved.config.total_step == 10
    expected = run(theirs.eval(), inputs)
    assert_same(run_ours(adapted, inputs), expected)
    assert_differs(expected, run(base, inputs))


def read(directory: Path, base: nn.Module) -> tuple[AdaptedModel, Any]:
    adapted = AdaptedModel(copy.deepcopy(base))
    config = parse_config(json.loads((directory / "adapter_config.json").read_text()))
    tensors = read_safetensors((directory / "adapter_model.safetensors").read_bytes())
    return adapted, adapted.inject_adapter("x", config, tensors)


def test_several_adalora_adapters_live_on_one_base() -> None:
    """PEFT allows one; the oracle is each alone."""
    layer = ADALORA_LAYERS["linear"]
    base, inputs = layer.base(), layer.inputs()
    adapted = AdaptedModel(copy.deepcopy(base))
    raws = {"a": ADALORA, "b": {**ADALORA, "init_r": 5, "lora_alpha": 1}}
    alone: dict[str, nn.Module] = {}
    for name, raw in raws.items():
        alone[name] = peft_model(base, raw)
        adapted.inject_adapter(name, parse_config(raw), peft_state(alone[name]))
    for name, theirs in alone.items():
        with adapted.routed_whole({name: 1.0}):
            assert_same(run(adapted.module, inputs), run(theirs, inputs))
    with adapted.routed_whole({"a": 0.5, "b": -2.0}):
        mixed = run(adapted.module, inputs)
    plain = run(base, inputs)
    deltas = {name: run(theirs, inputs) - plain for name, theirs in alone.items()}
    assert_same(mixed, plain + 0.5 * deltas["a"] - 2 * deltas["b"])
