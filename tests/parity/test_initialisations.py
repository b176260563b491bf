"""Which of PEFT's initialisations leave the base as it is: what was trained from them is served as PEFT loads it."""

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from parity.extras import llama_inputs, untied_llama
from parity.oracle import assert_differs, ours, run, run_ours
from tolerance import assert_same
from torch import nn

from models_registry.adapters.catalog import parse_config
from models_registry.adapters.method import PEFT_PREFIX
from models_registry.errors import Invalid
from models_registry.safetensors_files import read_safetensors

pytestmark = pytest.mark.filterwarnings("ignore:lora with eva initialization used with low_cpu_mem_usage=False")

EVA: dict[str, Any] = {"init_lora_weights": "eva", "eva_config": peft.EvaConfig()}


def trained(base: nn.Module, directory: Path, **fields: Any) -> peft.PeftModel:
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], **fields)
    model = peft.get_peft_model(base, config, autocast_adapter_dtype=False)  # pyright: ignore[reportArgumentType] - any module will do
    assert isinstance(model, peft.PeftModel)
    torch.manual_seed(7)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += torch.randn(parameter.shape) * 0.3
    model.save_pretrained(str(directory))
    return model.eval()


def is_untouched(model: nn.Module, base: nn.Module) -> bool:
    names = {name.replace(".base_layer", "").removeprefix(PEFT_PREFIX): p for name, p in model.named_parameters()}
    return all(torch.equal(names[name], parameter) for name, parameter in base.named_parameters())


@pytest.mark.parametrize(
    "fields",
    [EVA, {"init_lora_weights": "gaussian"}, {"init_lora_weights": "orthogonal"}, {"init_lora_weights": "mica"}],
    ids=["eva", "gaussian", "orthogonal", "mica"],
)
def test_what_was_trained_on_the_untouched_base_is_served(fields: dict[str, Any], tmp_path: Path) -> None:
    base, inputs = untied_llama().float(), llama_inputs()
    model = trained(untied_llama().float(), tmp_path, **fields)
    assert is_untouched(model, base)
    tensors = read_safetensors((tmp_path / "adapter_model.safetensors").read_bytes())
    raw = json.loads((tmp_path / "adapter_config.json").read_text())
    loaded = peft.PeftModel.from_pretrained(untied_llama().float(), str(tmp_path)).eval()
    expected = run(loaded, inputs)
    assert_same(
        run_ours(ours(base, raw, tensors), inputs), expected, terms=3 * (4 * 16 + 3 * 24) + 16
    )  # of each layer, and the head
    assert_differs(expected, run(base, inputs))


@pytest.mark.parametrize("init", ["pissa", "pissa_niter_4", "olora"])
def test_what_was_trained_on_rewritten_weights_is_refused(init: str, tmp_path: Path) -> None:
    assert not is_untouched(trained(untied_llama().float(), tmp_path, init_lora_weights=init), untied_llama().float())
    with pytest.raises(Invalid, match=init):
        parse_config(json.loads((tmp_path / "adapter_config.json").read_text()))


def test_what_begins_with_data_is_not_made_here() -> None:
    raw = {"peft_type": "LORA", "target_modules": ["q_proj"], "init_lora_weights": "eva"}
    with pytest.raises(Invalid, match="initial weights") as caught:
        ours(untied_llama(), raw)
    assert "upload" in caught.value.faults[0].message


@pytest.mark.parametrize(("field", "options"), [("velora_config", {"num_groups": 2}), ("monteclora_config", {"a": 1})])
def test_what_changes_training_alone_is_left_out_and_named(field: str, options: dict[str, Any]) -> None:
    raw = {"peft_type": "LORA", "target_modules": ["q_proj"], field: options}
    plain = ours(untied_llama(), {**raw, field: None}).adapter_state_dict("x")
    name = next(iter(plain)).split(".lora_A")[0]
    extra = f"{name}.lora_{field.removesuffix('_config')}_embed"
    checkpoint = ours(untied_llama(), raw, {**plain, extra: torch.ones(8)}).checkpoint("x")
    assert checkpoint.tensors.keys() == plain.keys()
    assert getattr(checkpoint.config, field) is None
    assert [warning.split()[0] for warning in checkpoint.warnings] == [field, extra]
    with pytest.raises(Invalid):
        ours(untied_llama(), raw)


def test_tying_is_refused_only_where_it_would_tie_something() -> None:
    raw = {"peft_type": "LORA", "target_modules": ["q_proj"], "ensure_weight_tying": True}
    assert ours(untied_llama(), {**raw, "target_modules": ["q_proj", "lm_head"]}).adapters == ("x",)
