"""A module in other forms is the same module with the same numbers, whichever of them this processor can compute."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from tolerance import assert_same
from torch import Tensor, nn
from word_models import tiny_llama

from models_registry.adapters.catalog import parse_config
from models_registry.architecture import describe
from models_registry.arithmetic import Form
from models_registry.injection import AdaptedModel
from models_registry.injection.arithmetic.choice import FORMS
from models_registry.injection.arithmetic.weight_forms import WeightForms
from models_registry.safetensors_files import write_safetensors

IDS = torch.tensor([[3, 4, 5, 6], [9, 8, 7, 6]])
TERMS = 200
CONFIGS: dict[str, dict[str, Any]] = {
    "lora": {"peft_type": "LORA", "r": 4, "target_modules": "all-linear", "init_lora_weights": False},
    "dora": {"peft_type": "LORA", "r": 4, "target_modules": ["q_proj", "up_proj"], "use_dora": True},
    "saved": {"peft_type": "LORA", "r": 4, "target_modules": ["q_proj"], "modules_to_save": ["mlp", "lm_head"]},
    "tokens": {"peft_type": "LORA", "r": 4, "target_modules": ["v_proj"], "trainable_token_indices": [4, 5]},
}


def stored(dtype: torch.dtype = torch.bfloat16) -> nn.Module:
    return nn.Module.to(tiny_llama().eval().requires_grad_(False), dtype)


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> Form:
    form: Form = request.param
    return form


def used(module: nn.Module, form: Form) -> Iterator[WeightForms]:
    """`module` in `form`, where this processor can compute so."""
    forms = WeightForms(module)
    if form not in forms.refused:
        forms.use(form)
        yield forms


@torch.inference_mode()
def logits(module: Any) -> Tensor:
    out: Tensor = module(input_ids=IDS, use_cache=False).logits
    return out


def test_it_is_the_same_module_with_the_same_numbers(form: Form) -> None:
    module, before = stored(), stored().state_dict()
    parts = [(name, part, type(part)) for name, part in module.named_modules()]
    parameters = dict(module.named_parameters())
    for _ in used(module, form):
        assert [(name, part, type(part)) for name, part in module.named_modules()] == parts
        assert all(parameters[name] is own for name, own in module.named_parameters())
        assert list(module.state_dict()) == list(before)
        assert all(torch.equal(own.float(), before[name].float()) for name, own in module.state_dict().items())


def test_wide_forms_compute_what_float32_computes() -> None:
    expected = logits(stored().float())
    for form in FORMS[1:]:
        module = stored()
        for _ in used(module, form):
            assert_same(logits(module), expected, TERMS)


def test_a_module_goes_back_to_what_it_was_bit_by_bit(form: Form) -> None:
    module, before = stored(), logits(stored())
    for forms in used(module, form):
        forms.use("as_stored")
        assert describe(module) == describe(stored())
        assert torch.equal(logits(module), before)
        assert all("forward" not in vars(part) for part in module.modules())


def test_layers_whose_weights_float16_would_round_are_not_packed() -> None:
    rounded, exact = nn.Linear(4, 4).requires_grad_(False), nn.Linear(4, 4).requires_grad_(False)
    rounded.weight.fill_(1 + 2.0**-20)
    exact.weight.fill_(1.5)
    module = nn.Sequential(rounded, exact)
    for _ in used(module, "float16_weights"):
        assert ["forward" in vars(layer) for layer in module] == [False, True]
    exact.weight.fill_(70000.0)
    assert "float16_weights" in WeightForms(module).refused


def test_what_a_form_takes_is_what_lies_in_memory(form: Form) -> None:
    module = stored()
    for forms in used(module, form):
        linear = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
        copies = sum(2 * layer.weight.numel() for layer in linear if "forward" in vars(layer))
        assert forms.bytes(form) == sum(parameter.nbytes for parameter in module.parameters()) + copies


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_adapters_act_on_every_form_as_on_float32(config: dict[str, Any]) -> None:
    architecture = describe(stored())
    fresh = write_safetensors(AdaptedModel(stored()).inject_adapter("a", parse_config(config), seed=1).tensors)
    expected = None
    for form in FORMS[1:]:
        module = stored()
        for _ in used(module, form):
            adapted = AdaptedModel(module, architecture)
            made = adapted.inject_adapter("a", parse_config(config), seed=1)
            if expected is None:
                expected = adapted_logits(adapted)
            assert_same(adapted_logits(adapted), expected, TERMS)
            assert write_safetensors(made.tensors) == fresh


def adapted_logits(adapted: AdaptedModel) -> Tensor:
    with adapted.routed([{"a": 1.0}, {}]):
        return logits(adapted.module)
