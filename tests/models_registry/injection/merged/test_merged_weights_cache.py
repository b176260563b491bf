"""A hot composition is answered by merged copies of its targets: the same numbers, within a bound of memory, the base
left as it is."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from adapting import picture, same
from tolerance import assert_same
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from transformers.pytorch_utils import Conv1D

from models_registry.adapters.catalog import parse_config
from models_registry.injection import AdaptedModel, Composition
from models_registry.injection.kernels.kernel_table import KernelTable
from models_registry.injection.merged.merged_weights_cache import (
    HOT_AFTER,
    MOST_MIXTURES,
    CompositionKey,
    MergedLayer,
    MergedWeightsCache,
)
from models_registry.injection.training import training

TARGETS = ["one", "two"]
LORA: dict[str, Any] = {"peft_type": "LORA", "r": 2, "init_lora_weights": False, "target_modules": TARGETS}
IA3: dict[str, Any] = {"peft_type": "IA3", "target_modules": TARGETS, "init_ia3_weights": False}
ADAPTERS: Mapping[str, dict[str, Any]] = {
    "lora": LORA,
    "dora": {**LORA, "use_dora": True},
    "biased": {**LORA, "lora_bias": True},
    "own biases": {**LORA, "bias": "all"},
    "ada": {**LORA, "peft_type": "ADALORA", "init_r": 3, "lora_alpha": 2},
    "ia3": {**IA3, "feedforward_modules": []},
    "ia3 feedforward": {**IA3, "feedforward_modules": ["two"]},
    "embedding too": {**LORA, "target_modules": [*TARGETS, "embedding"]},
    "head of its own": {**LORA, "modules_to_save": ["head"]},
}
MIXTURES: Mapping[str, Composition] = {name: {name: 1.0} for name in ADAPTERS} | {
    "weighted": {"lora": -0.5},
    "composition": {"lora": 0.5, "ada": -1.0},
}
IDS = torch.arange(12).view(4, 3) % 11
ROOM = KernelTable(max_merged_bytes=1 << 20)
BYTES = (8 * 6 + 6 * 8) * 8
"""Of the copies of both targets."""


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.one = nn.Linear(6, 8, bias=False)
        self.two = Conv1D(6, 8)
        self.head = nn.Linear(6, 3)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.two(torch.tanh(self.one(self.embedding(ids)))))


def adapt(dtype: torch.dtype = torch.float64) -> AdaptedModel:
    torch.manual_seed(0)
    adapted = AdaptedModel(Model().eval().to(dtype))
    for seed, (name, raw) in enumerate(ADAPTERS.items()):
        tensors = adapted.inject_adapter(name, parse_config(raw), seed=seed).tensors
        adapted.load_adapter_state_dict(name, {key: tensor * 0.15 for key, tensor in tensors.items()})
    adapted.kernels = ROOM
    return adapted


@torch.no_grad()
def run(adapted: AdaptedModel, composition: Composition, times: int = 1) -> Tensor:
    outputs: list[Tensor] = []
    for _ in range(times):
        with adapted.routed_whole(composition):
            outputs.append(adapted.module(IDS))
    return outputs[-1]


def heat(adapted: AdaptedModel, composition: Composition) -> Tensor:
    """The output of a routing that begins when all is merged."""
    return run(adapted, composition, HOT_AFTER + 2)


@pytest.mark.parametrize("composition", MIXTURES.values(), ids=MIXTURES.keys())
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_merged_copies_give_what_adapters_beside_the_base_give(dtype: torch.dtype, composition: Composition) -> None:
    adapted = adapt(dtype)
    expected = run(adapted, composition)
    merged = heat(adapted, composition)
    assert adapted.merged_weights.bytes > 0
    assert_same(merged, expected, terms=6 + 8 + 6)
    with torch.no_grad():
        assert not torch.allclose(merged, adapted.module(IDS), atol=1e-3)


def test_a_composition_is_merged_once_it_was_wanted_often_in_a_row() -> None:
    adapted = adapt()
    lora: Composition = {"lora": 1.0}
    run(adapted, lora, HOT_AFTER)
    run(adapted, {"ada": 1.0})
    run(adapted, lora, HOT_AFTER)
    with adapted.routed([lora, {}, {}, {}]):
        adapted.module(IDS)
    run(adapted, lora, HOT_AFTER)
    run(adapted, {})
    run(adapted, lora, HOT_AFTER)
    assert adapted.merged_weights.bytes == 0
    run(adapted, lora)
    assert adapted.merged_weights.bytes == BYTES


def test_without_memory_for_it_nothing_is_merged() -> None:
    adapted = adapt()
    adapted.kernels = KernelTable()
    heat(adapted, {"lora": 1.0})
    assert adapted.merged_weights.bytes == 0
    assert not any("forward" in vars(part) for part in adapted.module.modules())


def test_what_is_merged_stays_within_its_bound_and_answers_also_where_a_part_fits() -> None:
    adapted = adapt()
    expected = run(adapted, {"lora": 1.0})
    adapted.kernels = KernelTable(max_merged_bytes=BYTES // 2)
    assert_same(heat(adapted, {"lora": 1.0}), expected)
    assert adapted.merged_weights.bytes == BYTES // 2


def test_the_composition_that_was_used_longest_ago_makes_room() -> None:
    adapted = adapt()
    adapted.kernels = KernelTable(max_merged_bytes=2 * BYTES)
    compositions: list[Composition] = [{"lora": 1.0}, {"ada": 1.0}, {"lora": 0.5}]
    expected = [run(adapted, composition) for composition in compositions]
    heat(adapted, compositions[0])
    heat(adapted, compositions[1])
    run(adapted, compositions[0])
    heat(adapted, compositions[2])
    assert adapted.merged_weights.bytes == 2 * BYTES
    adapted.eject_adapter("ada")
    assert adapted.merged_weights.bytes == 2 * BYTES  # had gone already
    for composition, output in zip(compositions[::2], expected[::2], strict=True):
        assert_same(run(adapted, composition), output)


class Unmergeable:
    """Takes no memory, so that none is ever short."""

    asked = 0

    def merge_bytes(self, composition: CompositionKey) -> int:
        return 0

    def merge(self, composition: CompositionKey) -> MergedLayer:
        self.asked += 1
        return MergedLayer((), None, 0)


def test_compositions_that_cant_be_merged_are_not_remembered_for_ever() -> None:
    hot, layer = MergedWeightsCache(), Unmergeable()
    compositions = [(("lora", float(weight)),) for weight in range(MOST_MIXTURES + 1)]
    for composition in [*compositions, compositions[-1], compositions[0]]:
        for _ in range(HOT_AFTER + 2):
            hot.record(composition, {"one": layer}, 1)
    assert layer.asked == len(compositions) + 1  # the first one had been forgotten


def test_who_goes_or_changes_takes_its_merged_copies_along() -> None:
    adapted = adapt()
    heat(adapted, {"lora": 0.5, "ada": 0.5})
    adapted.eject_adapter("ada")
    assert adapted.merged_weights.bytes == 0
    before = heat(adapted, {"lora": 1.0})
    tensors = adapted.adapter_state_dict("lora")
    adapted.load_adapter_state_dict("lora", {key: -tensor for key, tensor in tensors.items()})
    assert adapted.merged_weights.bytes == 0
    adapted.load_adapter_state_dict(
        "lora", {key: tensor * (2 if "lora_B" in key else 1) for key, tensor in tensors.items()}
    )
    after = run(adapted, {"lora": 1.0})
    assert not torch.allclose(before, after)
    assert_same(heat(adapted, {"lora": 1.0}), after)


@torch.no_grad()
def test_an_adapter_that_changes_inside_a_block_acts_as_it_is_now() -> None:
    adapted = adapt()
    heat(adapted, {"lora": 1.0})
    with adapted.routed_whole({"lora": 1.0}):
        adapted.module(IDS)
        adapted.eject_adapter("lora")
        adapted.inject_adapter("lora", parse_config(LORA), seed=99)
        inside = adapted.module(IDS)
    assert_same(inside, run(adapted, {"lora": 1.0}))


@torch.no_grad()
def test_the_base_answers_as_ever_and_gets_all_of_itself_back() -> None:
    torch.manual_seed(0)
    module = Model().double().eval()
    untouched, plain = picture(module), module(IDS)
    adapted = AdaptedModel(module)
    adapted.kernels = ROOM
    adapted.inject_adapter("lora", parse_config(LORA), seed=0)
    adapted.inject_adapter("other", parse_config(LORA), seed=1)
    other = run(adapted, {"other": 1.0})
    state = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    adapted.load_adapter_state_dict("lora", {k: t * 0.1 for k, t in adapted.adapter_state_dict("lora").items()})
    heat(adapted, {"lora": 1.0})
    assert adapted.merged_weights.bytes == BYTES
    assert torch.equal(module(IDS), plain)
    assert torch.equal(run(adapted, {"other": 1.0}), other)
    assert same(state, dict(module.state_dict()))
    adapted.eject_adapter("lora")
    adapted.eject_adapter("other")
    assert same(picture(module), untouched)


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


def test_an_adapters_own_copy_of_a_merged_target_answers_with_its_own_weights() -> None:
    adapted = adapt()
    config = parse_config({**LORA, "target_modules": ["two"], "modules_to_save": ["one"]})
    tensors = adapted.inject_adapter("own one", config, seed=0).tensors
    changed = {key: -tensor for key, tensor in tensors.items()}
    adapted.load_adapter_state_dict("own one", changed)
    expected = run(adapted, {"own one": 1.0})
    heat(adapted, {"lora": 1.0})
    assert adapted.merged_weights.bytes > 0
    adapted.load_adapter_state_dict("own one", changed)
    assert_same(run(adapted, {"own one": 1.0}), expected)


def test_an_adapter_is_not_merged_while_it_is_trained() -> None:
    adapted = adapt()
    with training(adapted, "lora") as parameters:
        for _ in range(HOT_AFTER + 2):
            with adapted.routed_whole({"lora": 1.0}):
                adapted.module(IDS).sum().backward()
        assert adapted.merged_weights.bytes == 0
        assert all(parameter.grad is not None for parameter in parameters.values())


def test_a_model_that_moves_is_not_answered_for_by_copies_made_before() -> None:
    adapted = adapt()
    expected = heat(adapted, {"lora": 1.0})
    adapted.module.to(torch.float32)
    moved = heat(adapted, {"lora": 1.0})
    assert_same(moved, expected.float(), terms=6 + 8 + 6)


def test_a_strangers_hook_sees_a_merged_target_once() -> None:
    adapted = adapt()
    seen: list[object] = []
    adapted.module.get_submodule("one").register_forward_hook(lambda *call: seen.append(call))
    heat(adapted, {"lora": 1.0})
    assert len(seen) == HOT_AFTER + 2


def test_adapters_that_a_merged_copy_answers_for_have_acted() -> None:
    adapted = adapt()
    heat(adapted, {"lora": 1.0})
    with adapted.routed_whole({"lora": 1.0}) as routing:
        adapted.module(IDS)
    assert routing.inactive == frozenset()


def test_the_base_itself_is_never_hot() -> None:
    adapted = adapt()
    heat(adapted, {})
    assert not adapted.merged_weights.clear()
    heat(adapted, {"lora": 1.0})
    assert adapted.merged_weights.clear()
    assert not adapted.merged_weights.clear()


def test_giving_the_memory_back_leaves_answers_as_they_are() -> None:
    adapted = adapt()
    expected = heat(adapted, {"lora": 1.0})
    adapted.merged_weights.clear()
    assert adapted.merged_weights.bytes == 0
    assert_same(run(adapted, {"lora": 1.0}), expected)
