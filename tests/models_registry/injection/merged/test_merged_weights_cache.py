"""A hot composition is answered by merged copies of its targets: the same numbers, within a bound of memory, the base
left as it is."""

import pytest
import torch
from adapting import picture, same
from tolerance import assert_same

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
from tests.models_registry.injection.merged.merging import BYTES, IDS, LORA, MIXTURES, ROOM, Model, adapt, heat, run


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
