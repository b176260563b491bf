"""Files whose keys or shapes don't fit: what is read all the same, and the likely cause of the rest in one sentence."""

from typing import Any

import pytest
import torch
from parity.extras import untied_llama
from torch import Tensor, nn

from models_registry.adapters.catalog import parse_config
from models_registry.adapters.checkpoint import Checkpoint, fresh_checkpoint, match_checkpoint
from models_registry.adapters.method import PEFT_PREFIX
from models_registry.architecture import describe
from models_registry.errors import Invalid
from models_registry.records import Architecture

LORA: dict[str, Any] = {
    "peft_type": "LORA",
    "r": 2,
    "target_modules": ["q_proj", "lm_head"],
    "init_lora_weights": False,
}


@pytest.fixture(scope="module")
def base() -> Architecture:
    return describe(untied_llama())


@pytest.fixture(scope="module")
def fitting(base: Architecture) -> dict[str, Tensor]:
    return dict(fresh_checkpoint(parse_config(LORA), base, 1).tensors)


def match(base: Architecture, tensors: dict[str, Tensor], **fields: Any) -> Checkpoint:
    return match_checkpoint(parse_config({**LORA, **fields}), tensors, base)


def refusal(base: Architecture, tensors: dict[str, Tensor], **fields: Any) -> Invalid:
    with pytest.raises(Invalid) as caught:
        match(base, tensors, **fields)
    return caught.value


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("", "_orig_mod."),
        ("", f"_orig_mod.{PEFT_PREFIX}"),
        ("", f"{PEFT_PREFIX}_orig_mod."),
        ("layers.1.", "layers.1._orig_mod."),
        ("layers.", "_fsdp_wrapped_module.layers."),
        ("self_attn.", "_checkpoint_wrapped_module.self_attn."),
        ("", f"module.{PEFT_PREFIX}"),
    ],
)
def test_what_wrappers_put_into_keys_is_left_out(
    base: Architecture, fitting: dict[str, Tensor], old: str, new: str
) -> None:
    wrapped = {key.replace(old, new, 1): tensor for key, tensor in fitting.items()}
    assert wrapped.keys() != fitting.keys()
    assert match(base, wrapped).tensors.keys() == fitting.keys()


def test_two_keys_for_one_tensor_are_refused(base: Architecture, fitting: dict[str, Tensor]) -> None:
    key = next(iter(fitting))
    found = refusal(base, {**fitting, f"_orig_mod.{key}": fitting[key]})
    assert [fault.loc for fault in found.faults] == [("weights", f"_orig_mod.{key}")]


def test_a_wrapped_base_keeps_its_names() -> None:
    module = nn.ModuleDict({"_orig_mod": nn.ModuleDict({"q_proj": nn.Linear(4, 4)})})
    raw = {**LORA, "target_modules": ["q_proj"]}
    tensors = dict(fresh_checkpoint(parse_config(raw), describe(module), 1).tensors)
    assert list(match(describe(module), tensors, target_modules=["q_proj"]).tensors) == [
        "_orig_mod.q_proj.lora_A.weight",
        "_orig_mod.q_proj.lora_B.weight",
    ]


@pytest.mark.parametrize(
    ("old", "new", "cause"),
    [
        ("", f"{PEFT_PREFIX}{PEFT_PREFIX}", f"All keys match after removing the prefix '{PEFT_PREFIX}'"),
        ("", "language_model.", "All keys match after removing the prefix 'language_model.'"),
        ("model.", "", "All keys match after putting 'model.' in front"),
        ("model.", "transformer.", "All keys match after replacing the prefix 'transformer.' by 'model.'"),
    ],
)
def test_keys_that_differ_by_a_prefix_are_told_in_one_sentence_first(
    base: Architecture, fitting: dict[str, Tensor], old: str, new: str, cause: str
) -> None:
    without_head = {key: tensor for key, tensor in fitting.items() if key.startswith("model.")}
    other = {key.replace(old, new, 1): tensor for key, tensor in without_head.items()}
    assert refusal(base, other, target_modules=["q_proj"]).detail.startswith(cause)


def test_a_prefix_that_only_some_keys_have_is_no_cause(base: Architecture, fitting: dict[str, Tensor]) -> None:
    first, *others = fitting
    other = {f"transformer.{first}": fitting[first], f"else.{others[0]}": fitting[others[0]]}
    assert refusal(base, other).detail == "The weights don't fit the config and the base model."


@pytest.mark.parametrize(
    ("key", "tool"),
    [
        ("lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight", "kohya's sd-scripts"),
        ("lora_te_text_model_encoder_layers_0_mlp_fc1.alpha", "kohya's sd-scripts"),
        ("lora_unet_mid_block_attentions_0_proj_in.hada_w1_a", "LyCORIS"),
        ("lycoris_layers_0_fc1.lokr_w1", "LyCORIS"),
        ("unet.mid_block.attentions.0.to_q.lora.down.weight", "older diffusers"),
        ("mid_block.attn1.processor.to_q_lora.up.weight", "older diffusers"),
    ],
)
def test_a_file_of_another_tool_is_named(base: Architecture, key: str, tool: str) -> None:
    found = refusal(base, {key: torch.ones(2, 2)})
    assert tool in found.detail
    assert "convert" in found.detail
    assert not any("doesn't target ''" in fault.message for fault in found.faults)


def test_an_adapters_name_inside_the_keys_is_named(base: Architecture, fitting: dict[str, Tensor]) -> None:
    named = {key.replace(".weight", ".default.weight"): tensor for key, tensor in fitting.items()}
    detail = refusal(base, {f"{PEFT_PREFIX}{key}": tensor for key, tensor in named.items()}).detail
    assert detail.startswith("The keys hold an adapter's name ('default')")
    assert "save_pretrained" in detail


def test_a_whole_models_weights_are_told_from_an_adapters(base: Architecture) -> None:
    whole = {key: tensor + 1 for key, tensor in untied_llama().state_dict().items()}
    detail = refusal(base, whole).detail
    assert detail.startswith("These are the weights of a whole model")
    assert "adapter_model.safetensors" in detail


def test_empty_tensors_are_told_as_those_of_zero_3(base: Architecture, fitting: dict[str, Tensor]) -> None:
    found = refusal(base, {key: torch.zeros(0) for key in fitting})
    assert all("ZeRO-3" in fault.message and "zero_to_fp32.py" in fault.message for fault in found.faults)


def test_another_size_of_the_vocabulary_is_told_as_that(base: Architecture, fitting: dict[str, Tensor]) -> None:
    larger = {**fitting, "lm_head.lora_B.weight": torch.ones(42, 2)}
    (fault,) = refusal(base, larger).faults
    assert fault.message.startswith("has shape [42, 2] where [40, 2] is needed; it was trained with a vocabulary of 42")
    copied = {**fitting, "lm_head.base_layer.weight": torch.ones(42, 16)}
    (fault,) = refusal(base, copied).faults
    assert "vocabulary of 42" in fault.message
