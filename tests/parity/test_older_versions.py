"""Adapters that were saved for older versions of transformers: read as PEFT reads them, by transformers' tables."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from parity.oracle import assert_differs, assert_same_tensors, run, run_ours
from torch import Tensor, nn
from transformers import (
    CLIPVisionConfig,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    MixtralConfig,
    MixtralForCausalLM,
    Qwen2MoeConfig,
    Qwen2MoeForCausalLM,
)

from models_registry.adapters.catalog import parse_config
from models_registry.adapters.method import PEFT_PREFIX
from models_registry.errors import Invalid
from models_registry.injection import AdaptedModel
from models_registry.safetensors_files import read_safetensors, write_safetensors

DECODER: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
IDS = {"input_ids": torch.tensor([[5, 6, 7, 8]])}


def llava() -> LlavaForConditionalGeneration:
    torch.manual_seed(0)
    vision = CLIPVisionConfig(
        hidden_size=24, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=8, patch_size=4
    )
    fields: dict[str, Any] = {"image_token_id": 39, "vision_feature_layer": -1, "pad_token_id": 0}
    config = LlavaConfig(vision_config=vision, text_config=LlamaConfig(**DECODER), **fields)
    return LlavaForConditionalGeneration(config).double().eval()


def saved(base: nn.Module, directory: Path, **fields: Any) -> dict[str, Tensor]:
    """What PEFT saves of an adapter with numbers that matter, without its prefix."""
    config = peft.LoraConfig(r=2, init_lora_weights=False, **fields)
    peft.get_peft_model(base, config, autocast_adapter_dtype=False).save_pretrained(str(directory))  # pyright: ignore[reportArgumentType] - any module will do
    tensors = read_safetensors((directory / "adapter_model.safetensors").read_bytes())
    return {k.removeprefix(PEFT_PREFIX): t.clone() for k, t in tensors.items() if "base_layer" not in k}


def rename(directory: Path, tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """The directory again as an older version would have saved it: `names` are today's beginnings -> theirs."""
    old = {
        next((key.replace(new, former, 1) for new, former in names.items() if key.startswith(new)), key): tensor
        for key, tensor in tensors.items()
    }
    assert old.keys() != tensors.keys()  # else this test proves nothing
    (directory / "adapter_model.safetensors").write_bytes(write_safetensors(old, PEFT_PREFIX))
    return old


OLD_LLAVA = {
    "model.language_model.": "language_model.model.",
    "lm_head.": "language_model.lm_head.",
    "model.vision_tower.": "vision_tower.vision_model.",
    "model.multi_modal_projector.": "multi_modal_projector.",
}


@pytest.mark.parametrize(
    ("targets", "names"),
    [
        (r".*language_model.*\.(q_proj|v_proj)", OLD_LLAVA),
        (r".*language_model.*\.(q_proj|v_proj)", {"model.language_model.": "model.language_model.model."}),
    ],
)
def test_llavas_keys_of_older_versions_are_read_as_peft_reads_them(
    targets: Any, names: dict[str, str], tmp_path: Path
) -> None:
    tensors = saved(llava(), tmp_path, target_modules=targets)
    old = rename(tmp_path, tensors, names)
    theirs = peft.PeftModel.from_pretrained(llava(), str(tmp_path), autocast_adapter_dtype=False)
    expected = run(theirs.eval(), IDS)
    assert_differs(expected, run(llava(), IDS))
    adapted = AdaptedModel(llava())
    config = parse_config(json.loads((tmp_path / "adapter_config.json").read_text()))
    checkpoint = adapted.inject_adapter("x", config, old)
    torch.testing.assert_close(run_ours(adapted, IDS), expected, rtol=1e-10, atol=1e-10)
    assert_same_tensors(checkpoint.tensors, tensors)
    (warning,) = checkpoint.warnings
    assert "older versions of transformers" in warning


def test_whatever_llava_called_otherwise_is_found(tmp_path: Path) -> None:
    """PEFT itself misses a head and a projector of such a file."""
    tensors = saved(llava(), tmp_path, target_modules=["q_proj", "lm_head", "linear_1"])
    old = rename(tmp_path, tensors, OLD_LLAVA)
    config = parse_config(json.loads((tmp_path / "adapter_config.json").read_text()))
    assert_same_tensors(AdaptedModel(llava()).inject_adapter("x", config, old).tensors, tensors)


def test_a_head_that_had_another_name_is_found(tmp_path: Path) -> None:
    """By the class's own table, which PEFT does not ask where the model type has none."""
    tensors = saved(neox(), tmp_path, target_modules=["query_key_value", "lm_head"])
    old = rename(tmp_path, tensors, {"lm_head.": "embed_out."})
    adapted = AdaptedModel(neox())
    config = parse_config(json.loads((tmp_path / "adapter_config.json").read_text()))
    adapted.inject_adapter("x", config, old)
    assert_same_tensors(adapted.adapter_state_dict("x"), tensors)


def neox() -> GPTNeoXForCausalLM:
    fields = {key: value for key, value in DECODER.items() if key != "num_key_value_heads"}
    return GPTNeoXForCausalLM(GPTNeoXConfig(**fields)).eval()


def mixtral() -> nn.Module:
    return MixtralForCausalLM(MixtralConfig(**DECODER, num_local_experts=2))


def qwen2_moe() -> nn.Module:
    sizes: dict[str, Any] = {"moe_intermediate_size": 8, "shared_expert_intermediate_size": 8, "num_experts": 2}
    return Qwen2MoeForCausalLM(Qwen2MoeConfig(**DECODER, **sizes))


@pytest.mark.parametrize(
    ("base", "layer", "parameter"),
    [
        (mixtral, "model.layers.0.block_sparse_moe.experts.1.w3", "experts.gate_up_proj"),
        (mixtral, "model.layers.0.block_sparse_moe.experts.0.w2", "experts.down_proj"),
        (qwen2_moe, "model.layers.0.mlp.experts.1.up_proj", "mlp.experts.gate_up_proj"),
    ],
)
def test_an_experts_own_layer_is_refused_with_the_parameter_that_has_all(base: Any, layer: str, parameter: str) -> None:
    adapted = AdaptedModel(base())
    raw = {"peft_type": "LORA", "r": 2, "target_modules": ["q_proj", layer.rpartition(".")[2]]}
    tensors = adapted.inject_adapter("x", parse_config(raw), accept_unmatched=True).tensors
    extra = {f"{layer}.lora_A.weight": torch.ones(2, 16), f"{layer}.lora_B.weight": torch.ones(8, 2)}
    with pytest.raises(Invalid) as caught:
        adapted.inject_adapter("y", parse_config(raw), {**tensors, **extra}, accept_unmatched=True)
    assert f"one parameter for all ({parameter})" in caught.value.detail
    assert "bare parameters" in caught.value.detail


@pytest.mark.parametrize(("target", "parameter"), [("w3", "experts.gate_up_proj"), ("w2", "experts.down_proj")])
def test_a_target_that_every_expert_had_is_refused_with_the_same_reason(target: str, parameter: str) -> None:
    raw = {"peft_type": "LORA", "target_modules": ["q_proj", target]}
    with pytest.raises(Invalid) as caught:
        AdaptedModel(mixtral()).inject_adapter("x", parse_config(raw))
    assert f"one parameter for all ({parameter})" in caught.value.faults[0].message
