"""What is never merged, because the sum would round, or because the layer makes more of its product."""

import pytest
import torch
from tolerance import assert_same
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from models_registry.adapters.catalog import parse_config
from models_registry.injection import AdaptedModel
from models_registry.injection.merged.merged_weights_cache import (
    HOT_AFTER,
)
from models_registry.injection.training import training
from tests.models_registry.injection.merged.merging import IDS, LORA, ROOM, adapt, heat, run


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_never_merged_for_every_weight_would_round(dtype: torch.dtype) -> None:
    adapted = adapt(dtype)
    expected = run(adapted, {"lora": 1.0})
    assert torch.equal(heat(adapted, {"lora": 1.0}), expected)
    assert adapted.merged_weights.bytes == 0


def test_an_adapter_larger_than_the_base_is_not_merged_for_the_sum_would_round_more() -> None:
    adapted = adapt()
    tensors = adapted.adapter_state_dict("lora")
    adapted.load_adapter_state_dict("lora", {key: tensor * 100 for key, tensor in tensors.items()})
    expected = run(adapted, {"lora": 1.0})
    assert torch.equal(heat(adapted, {"lora": 1.0}), expected)
    assert adapted.merged_weights.bytes == 0


def test_layers_that_compute_their_weight_or_have_a_forward_of_their_own_are_left_alone() -> None:
    adapted = AdaptedModel(nn.Sequential(weight_norm(nn.Linear(4, 4)), nn.Linear(4, 4)).double())
    patched = adapted.module.get_submodule("1")
    own_forward = patched.forward
    patched.forward = lambda x: own_forward(x) + 1  # as wrappers do
    theirs = patched.forward
    adapted.inject_adapter("lora", parse_config({**LORA, "target_modules": "[01]"}), seed=0)
    adapted.kernels = ROOM
    x = torch.randn(2, 4, dtype=torch.float64)
    with torch.no_grad():
        for _ in range(HOT_AFTER + 2):
            with adapted.routed_whole({"lora": 0.1}):
                adapted.module(x)
    assert adapted.merged_weights.bytes == 0
    assert patched.forward is theirs


class Squashing(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - as torch calls it
        return torch.tanh(super().forward(input))


def squash(module: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> Tensor:
    return torch.tanh(out)


@torch.no_grad()
def test_what_a_layer_or_a_strangers_hook_makes_of_the_product_stays_beside_the_adapter() -> None:
    adapted = AdaptedModel(nn.Sequential(Squashing(4, 4), nn.Linear(4, 4)).double())
    adapted.module.get_submodule("1").register_forward_hook(squash)
    adapted.inject_adapter("lora", parse_config({**LORA, "target_modules": "[01]"}), seed=0)
    adapted.kernels = ROOM
    outputs: list[Tensor] = []
    for _ in range(HOT_AFTER + 2):
        with adapted.routed_whole({"lora": 0.1}):
            outputs.append(adapted.module(torch.ones(2, 4, dtype=torch.float64)))
    assert_same(outputs[-1], outputs[0])
    assert adapted.merged_weights.bytes == 0


def test_an_adapter_is_not_merged_while_it_is_trained() -> None:
    adapted = adapt()
    with training(adapted, "lora") as parameters:
        for _ in range(HOT_AFTER + 2):
            with adapted.routed_whole({"lora": 1.0}):
                adapted.module(IDS).sum().backward()
        assert adapted.merged_weights.bytes == 0
        assert all(parameter.grad is not None for parameter in parameters.values())
