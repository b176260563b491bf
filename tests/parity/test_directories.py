"""PEFT's own directories, both ways: what it saved is read here, what is written here it loads."""

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from parity.architectures import architecture, token_ids
from parity.oracle import assert_differs, ours, peft_config, randomise, run, run_ours
from tolerance import assert_same
from torch import nn

from models_registry.adapters.catalog import dump_config, parse_config
from models_registry.adapters.checkpoint import match_checkpoint
from models_registry.adapters.method import PEFT_PREFIX
from models_registry.architecture import describe
from models_registry.errors import Invalid
from models_registry.injection import AdaptedModel
from models_registry.safetensors_files import read_safetensors, write_safetensors

LORA: Mapping[str, Any] = {"peft_type": "LORA", "r": 4, "lora_alpha": 6}
ADALORA: Mapping[str, Any] = {"peft_type": "ADALORA", "init_r": 3, "target_r": 2, "total_step": 10}

CASES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "lora": ("llama", {**LORA, "target_modules": ["q_proj", "down_proj"], "task_type": "CAUSAL_LM"}),
    "lora all-linear": ("llama", {**LORA, "target_modules": "all-linear"}),
    "lora default": ("t5", LORA),
    "lora patterns": (
        "llama",
        {
            **LORA,
            "target_modules": ["q_proj", "v_proj"],
            "use_rslora": True,
            "rank_pattern": {r"layers\.0.*": 2},
            "alpha_pattern": {"v_proj": 3},
            "layers_to_transform": [0, 1],
            "layers_pattern": "layers",
        },
    ),
    "lora excluded": ("bert classifier", {**LORA, "target_modules": r".*(query|key)", "exclude_modules": ["key"]}),
    "lora conv1d": ("gpt2", {**LORA, "target_modules": ["c_attn", "c_fc"], "fan_in_fan_out": True}),
    "adalora": ("llama", {**ADALORA, "target_modules": ["v_proj", "up_proj"]}),
    "adalora gpt2": ("gpt2", {**ADALORA, "target_modules": ["c_attn"]}),
    "ia3": (
        "llama",
        {"peft_type": "IA3", "target_modules": ["k_proj", "down_proj"], "feedforward_modules": ["down_proj"]},
    ),
    "ia3 default": ("t5", {"peft_type": "IA3"}),
    "ia3 gpt2": (
        "gpt2",
        {"peft_type": "IA3", "target_modules": ["c_attn", "mlp.c_proj"], "feedforward_modules": ["mlp.c_proj"]},
    ),
}
FRESH: Mapping[str, Mapping[str, Any]] = {
    "LORA": {"init_lora_weights": False},
    "ADALORA": {"init_lora_weights": False},
    "IA3": {"init_ia3_weights": False},
}


def save_with_peft(base: nn.Module, raw: Mapping[str, Any], directory: Path) -> nn.Module:
    theirs = peft.PeftModel(copy.deepcopy(base), peft_config(raw), autocast_adapter_dtype=False)
    randomise(theirs)
    theirs.save_pretrained(str(directory))
    return theirs.eval()


def saved_config(directory: Path) -> dict[str, Any]:
    return json.loads((directory / "adapter_config.json").read_text())


@pytest.mark.parametrize(("name", "raw"), CASES.values(), ids=CASES.keys())
def test_what_peft_saved_is_read_and_computes_the_same(name: str, raw: Mapping[str, Any], tmp_path: Path) -> None:
    base, inputs = architecture(name), token_ids(name)
    theirs = save_with_peft(base, raw, tmp_path)
    config = parse_config(saved_config(tmp_path))
    checkpoint = match_checkpoint(
        config, read_safetensors((tmp_path / "adapter_model.safetensors").read_bytes()), describe(base)
    )
    adapted = AdaptedModel(copy.deepcopy(base))
    adapted.inject_adapter("x", checkpoint.config, checkpoint.tensors)
    expected = run(theirs, inputs)
    assert_same(run_ours(adapted, inputs), expected)
    assert_differs(expected, run(base, inputs))


@pytest.mark.parametrize(("name", "raw"), CASES.values(), ids=CASES.keys())
def test_every_field_that_peft_saved_is_saved_again(name: str, raw: Mapping[str, Any], tmp_path: Path) -> None:
    save_with_peft(architecture(name), raw, tmp_path)
    saved = saved_config(tmp_path)
    written = dump_config(parse_config(saved))
    assert {key: written[key] for key in saved} == saved


@pytest.mark.parametrize(("name", "raw"), CASES.values(), ids=CASES.keys())
def test_what_we_write_is_a_directory_that_peft_loads(name: str, raw: Mapping[str, Any], tmp_path: Path) -> None:
    base, inputs = architecture(name), token_ids(name)
    adapted = ours(base, {**raw, **FRESH[raw["peft_type"]]})
    checkpoint = adapted.checkpoint("x")
    (tmp_path / "adapter_config.json").write_text(json.dumps(dump_config(checkpoint.config)))
    (tmp_path / "adapter_model.safetensors").write_bytes(write_safetensors(checkpoint.tensors, PEFT_PREFIX))
    theirs = peft.PeftModel.from_pretrained(copy.deepcopy(base), str(tmp_path), autocast_adapter_dtype=False)
    actual = run_ours(adapted, inputs)
    assert_same(actual, run(theirs.eval(), inputs))
    assert_differs(actual, run(base, inputs))


def test_copies_of_the_bases_embeddings_are_accepted_and_left_out(tmp_path: Path) -> None:
    """PEFT saves the embeddings along with an adapter on them, as `X.base_layer.weight`."""
    base = architecture("llama")
    save_with_peft(base, {**LORA, "target_modules": ["embed_tokens", "lm_head"]}, tmp_path)
    tensors = read_safetensors((tmp_path / "adapter_model.safetensors").read_bytes())
    copies = {key for key in tensors if key.endswith(".base_layer.weight")}
    assert copies  # else this test proves nothing
    checkpoint = match_checkpoint(parse_config(saved_config(tmp_path)), tensors, describe(base))
    assert set(checkpoint.tensors) == {key.removeprefix(PEFT_PREFIX) for key in tensors.keys() - copies}
    assert len(checkpoint.warnings) == len(copies)


def test_a_copy_that_differs_from_the_base_is_refused(tmp_path: Path) -> None:
    base = architecture("llama")
    save_with_peft(base, {**LORA, "target_modules": ["embed_tokens"]}, tmp_path)
    tensors = read_safetensors((tmp_path / "adapter_model.safetensors").read_bytes())
    (changed,) = (key for key in tensors if key.endswith("embed_tokens.base_layer.weight"))
    tensors[changed] = torch.nextafter(tensors[changed], torch.tensor(9.0, dtype=tensors[changed].dtype))
    with pytest.raises(Invalid) as caught:
        match_checkpoint(parse_config(saved_config(tmp_path)), tensors, describe(base))
    assert [fault.loc for fault in caught.value.faults] == [("weights", changed.removeprefix(PEFT_PREFIX))]


@pytest.mark.parametrize("config", [peft.LoraConfig(), peft.AdaLoraConfig(total_step=9), peft.IA3Config()])
def test_every_key_of_pefts_configs_is_known(config: peft.PeftConfig, tmp_path: Path) -> None:
    config.save_pretrained(str(tmp_path))
    saved = saved_config(tmp_path)
    assert saved.keys() <= type(parse_config(saved)).model_fields.keys()


@pytest.mark.parametrize("config", [peft.LoraConfig(), peft.AdaLoraConfig(total_step=9), peft.IA3Config()])
def test_what_a_config_leaves_out_is_what_peft_would_take(config: peft.PeftConfig, tmp_path: Path) -> None:
    config.save_pretrained(str(tmp_path))
    saved = saved_config(tmp_path)
    given = {"peft_type": saved["peft_type"], "peft_version": saved["peft_version"]}
    if "total_step" in saved:
        given["total_step"] = saved["total_step"]
    assert dump_config(parse_config(given)) == saved


def test_what_the_base_lacks_is_passed_over_as_in_peft_where_it_is_accepted(tmp_path: Path) -> None:
    targets = ["q_proj", "v_proj", "query_key_value", "w1"]
    raw: dict[str, Any] = {"r": 2, "target_modules": targets, "exclude_modules": ["vision"], "init_lora_weights": False}
    base, inputs = architecture("llama"), token_ids("llama")
    made = peft.get_peft_model(copy.deepcopy(base), peft.LoraConfig(**raw), autocast_adapter_dtype=False)
    made.save_pretrained(str(tmp_path))
    saved = saved_config(tmp_path)
    assert set(saved["target_modules"]) == set(targets)  # else this test proves nothing
    adapted = AdaptedModel(copy.deepcopy(base))
    tensors = read_safetensors((tmp_path / "adapter_model.safetensors").read_bytes())
    checkpoint = adapted.inject_adapter("x", parse_config(saved), tensors, accept_unmatched=True)
    assert sorted(warning.split(" matches")[0] for warning in checkpoint.warnings) == [
        "exclude_modules: 'vision'",
        "target_modules: 'query_key_value'",
        "target_modules: 'w1'",
    ]
    assert_same(run_ours(adapted, inputs), run(made.eval(), inputs))
    assert_differs(run_ours(adapted, inputs), run(base, inputs))
    adapted.load_adapter_state_dict("x", adapted.adapter_state_dict("x"))
