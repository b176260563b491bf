"""The same adapter in PEFT and in ours: raw adapter_config.json in, both outputs out."""

import copy
from collections.abc import Mapping
from typing import Any

import peft
import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from models_registry.adapters.catalog import parse_config
from models_registry.injection import AdaptedModel

PEFT_CONFIGS: Mapping[str, type[peft.PeftConfig]] = {
    "LORA": peft.LoraConfig,
    "ADALORA": peft.AdaLoraConfig,
    "IA3": peft.IA3Config,
}


def peft_config(raw: Mapping[str, Any]) -> peft.PeftConfig:
    fields = {key: value for key, value in raw.items() if key != "peft_type"}
    return PEFT_CONFIGS[raw["peft_type"]](**fields)


def peft_model(base: nn.Module, raw: Mapping[str, Any]) -> nn.Module:
    """A copy of `base` that PEFT put the adapter in, in eval mode, with random weights instead of its own."""
    model = peft.inject_adapter_in_model(peft_config(raw), copy.deepcopy(base))
    randomise(model)
    return model.eval()


def randomise(model: nn.Module) -> None:
    """Every adapter tensor gets numbers that matter; PEFT starts with zeros."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ("lora_" in name or "ia3_" in name) and parameter.numel():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)


def peft_state(model: nn.Module) -> dict[str, Tensor]:
    """Without the copies of the base's embeddings that PEFT adds to adapters on them."""
    state = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
    return {key: tensor.clone() for key, tensor in state.items()}


def peft_targets(model: nn.Module) -> set[str]:
    return {name for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)}


def ours(base: nn.Module, raw: Mapping[str, Any], tensors: Mapping[str, Tensor] | None = None) -> AdaptedModel:
    """A copy of `base` with the adapter named "x"."""
    adapted = AdaptedModel(copy.deepcopy(base).eval())
    adapted.inject_adapter("x", parse_config(raw), tensors, seed=3)
    return adapted


@torch.no_grad()
def run(model: nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
    """The first output, whatever shape the model gives its outputs in."""
    out = model(**inputs)
    return out if isinstance(out, Tensor) else out[0]


def run_ours(adapted: AdaptedModel, inputs: Mapping[str, Tensor]) -> Tensor:
    with adapted.routed_whole({"x": 1.0}):
        return run(adapted.module, inputs)


def assert_same_tensors(actual: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert actual.keys() == expected.keys()
    for key in expected:
        assert torch.equal(actual[key], expected[key]), key


def assert_differs(actual: Tensor, base: Tensor) -> None:
    assert (actual - base).abs().max() > 1e-3 * base.abs().max()
