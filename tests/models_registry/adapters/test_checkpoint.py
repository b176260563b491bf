from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models_registry.adapters.catalog import parse_config
from models_registry.adapters.checkpoint import Checkpoint, fresh_checkpoint, match_checkpoint
from models_registry.adapters.method import PEFT_PREFIX
from models_registry.architecture import describe
from models_registry.errors import Invalid, Unsupported
from models_registry.records import Architecture
from models_registry.safetensors_files import read_safetensors, write_safetensors

LORA: dict[str, Any] = {"peft_type": "LORA", "r": 2, "target_modules": ["linear"], "init_lora_weights": False}
ADALORA: dict[str, Any] = {"peft_type": "ADALORA", "init_r": 3, "target_modules": ["linear"]}
IA3: dict[str, Any] = {"peft_type": "IA3", "target_modules": ["linear"], "feedforward_modules": []}


def build(dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(0)
    return nn.ModuleDict({"embedding": nn.Embedding(9, 4), "linear": nn.Linear(4, 5), "other": nn.Linear(5, 4)}).to(
        dtype
    )


@pytest.fixture(scope="module")
def base() -> Architecture:
    return describe(build())


def fresh(base: Architecture, seed: int | None = 1, **fields: Any) -> Checkpoint:
    return fresh_checkpoint(parse_config({**LORA, **fields}), base, seed)


def match(base: Architecture, tensors: dict[str, Tensor], raw: dict[str, Any] = LORA) -> Checkpoint:
    return match_checkpoint(parse_config(raw), tensors, base)


def faults(base: Architecture, tensors: dict[str, Tensor], raw: dict[str, Any] = LORA) -> dict[str, str]:
    with pytest.raises(Invalid) as caught:
        match(base, tensors, raw)
    assert all(fault.loc[0] == "weights" for fault in caught.value.faults)
    return {str(fault.loc[1]): fault.message for fault in caught.value.faults}


# ---- fresh ------------------------------------------------------------------------------------------------------


def test_a_seed_makes_creation_reproducible(base: Architecture) -> None:
    one, same, other = (write_safetensors(fresh(base, seed).tensors) for seed in (5, 5, 6))
    assert one == same
    assert one != other


def test_without_a_seed_every_adapter_begins_differently(base: Architecture) -> None:
    assert write_safetensors(fresh(base, None).tensors) != write_safetensors(fresh(base, None).tensors)


def test_a_seed_leaves_torchs_own_generator_alone(base: Architecture) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    fresh(base, 5)
    assert torch.equal(torch.rand(1), expected)


def test_a_fresh_adapter_matches_what_it_would_be_uploaded_as(base: Architecture) -> None:
    checkpoint = fresh(base)
    again = match(base, dict(checkpoint.tensors))
    assert again.config == checkpoint.config
    assert [target.name for target in again.targets] == ["linear"]
    assert checkpoint.parameters == again.parameters == 2 * 4 + 5 * 2


def test_fresh_weights_have_the_targets_dtype() -> None:
    tensors = fresh(describe(build(torch.bfloat16))).tensors
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"init_lora_weights": "orthogonal", "r": 3}, "even"),
        ({"init_lora_weights": "orthogonal", "r": 2_050}, "beyond rank 2048"),
        ({"init_lora_weights": "orthogonal", "target_modules": ["embedding"]}, "linear layers only"),
    ],
)
def test_weights_that_can_not_be_drawn_may_still_be_uploaded(
    base: Architecture, fields: dict[str, Any], word: str
) -> None:
    with pytest.raises(Unsupported, match=word):
        fresh(base, **fields)
    drawn = fresh(base, **{**fields, "init_lora_weights": False})
    assert match(base, dict(drawn.tensors), {**LORA, **fields}).tensors


# ---- matching ---------------------------------------------------------------------------------------------------


def test_keys_are_read_with_and_without_pefts_prefix(base: Architecture) -> None:
    plain = dict(fresh(base).tensors)
    prefixed = {f"{PEFT_PREFIX}{key}": tensor for key, tensor in plain.items()}
    assert match(base, prefixed).tensors.keys() == plain.keys() == match(base, plain).tensors.keys()
    mixed = {**prefixed}
    mixed["linear.lora_A.weight"] = mixed.pop(f"{PEFT_PREFIX}linear.lora_A.weight")
    assert match(base, mixed).tensors.keys() == plain.keys()


def test_a_tensor_that_stands_there_twice_is_named(base: Architecture) -> None:
    tensors = dict(fresh(base).tensors)
    tensors[f"{PEFT_PREFIX}linear.lora_A.weight"] = tensors["linear.lora_A.weight"]
    assert f"{PEFT_PREFIX}linear.lora_A.weight" in faults(base, tensors)


def test_everything_wrong_is_named_at_once(base: Architecture) -> None:
    raw = {**LORA, "target_modules": ["linear", "embedding"]}
    tensors = dict(fresh_checkpoint(parse_config(raw), base, 1).tensors)
    del tensors["linear.lora_A.weight"]
    tensors["linear.lora_B.weight"] = torch.zeros(2, 5)
    tensors["embedding.lora_embedding_A"] = torch.full((2, 9), torch.nan)
    tensors["embedding.lora_embedding_B"] = torch.zeros(4, 2, dtype=torch.int64)
    tensors["other.lora_A.weight"] = torch.zeros(2, 5)
    tensors["absent.lora_A.weight"] = torch.zeros(2, 5)
    tensors["linear.lora_C.weight"] = torch.zeros(2, 5)
    found = faults(base, tensors, raw)
    assert "missing" in found["linear.lora_A.weight"]
    assert "[2, 5] where [5, 2]" in found["linear.lora_B.weight"]
    assert "NaN" in found["embedding.lora_embedding_A"]
    assert "int64" in found["embedding.lora_embedding_B"]
    assert "doesn't target 'other'" in found["other.lora_A.weight"]
    assert "no module 'absent'" in found["absent.lora_A.weight"]
    assert "'linear'" in found["linear.lora_C.weight"]
    assert len(found) == 7


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_one_number_that_is_not_finite_is_enough(base: Architecture, number: float, dtype: torch.dtype) -> None:
    tensors = {key: tensor.to(dtype) for key, tensor in fresh(base).tensors.items()}
    tensors["linear.lora_A.weight"][1, 3] = number
    assert faults(base, tensors).keys() == {"linear.lora_A.weight"}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_an_upload_keeps_its_dtype(base: Architecture, dtype: torch.dtype) -> None:
    tensors = {key: tensor.to(dtype) for key, tensor in fresh(base).tensors.items()}
    assert {tensor.dtype for tensor in match(base, tensors).tensors.values()} == {dtype}


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.bool, torch.complex64, torch.float8_e4m3fn])
def test_numbers_that_are_not_floating_or_too_coarse_are_refused(base: Architecture, dtype: torch.dtype) -> None:
    tensors = {key: torch.ones(tensor.shape).to(dtype) for key, tensor in fresh(base).tensors.items()}
    assert faults(base, tensors).keys() == tensors.keys()


@pytest.mark.parametrize("key", ["linear.base_layer.weight", "other.base_layer.bias", "embedding.weight"])
def test_a_copy_of_a_base_weight_is_taken_if_equal_and_named_if_not(base: Architecture, key: str) -> None:
    weight = build().get_parameter(key.replace(".base_layer", "")).detach()
    tensors = {**fresh(base).tensors, key: weight}
    matched = match(base, tensors)
    assert key not in matched.tensors
    assert any(key in warning for warning in matched.warnings)
    assert "differs" in faults(base, {**tensors, key: weight + 1})[key]
    assert "differs" in faults(base, {**tensors, key: weight[:1]})[key]


def test_a_method_takes_only_its_own_keys(base: Architecture) -> None:
    assert faults(base, dict(fresh(base).tensors), IA3).keys() == {
        "linear.ia3_l",
        "linear.lora_A.weight",
        "linear.lora_B.weight",
    }


def test_adalora_without_its_steps_is_served_with_a_warning(base: Architecture) -> None:
    (warning,) = fresh_checkpoint(parse_config(ADALORA), base, 0).warnings
    assert "total_step" in warning
    assert not fresh_checkpoint(parse_config({**ADALORA, "total_step": 10}), base, 0).warnings


def test_adalora_pruned_to_nothing_has_tensors_without_numbers(base: Architecture) -> None:
    raw = {**ADALORA, "total_step": 9, "rank_pattern": {"base_model.model.linear.lora_E.default": [False] * 3}}
    tensors = {
        "linear.lora_A": torch.zeros(0, 4),
        "linear.lora_B": torch.zeros(5, 0),
        "linear.lora_E": torch.zeros(0, 1),
    }
    checkpoint = match(base, read_safetensors(write_safetensors(tensors)), raw)
    assert checkpoint.parameters == 0
    assert {key: tuple(tensor.shape) for key, tensor in checkpoint.tensors.items()} == {
        "linear.lora_A": (0, 4),
        "linear.lora_B": (5, 0),
        "linear.lora_E": (0, 1),
    }
