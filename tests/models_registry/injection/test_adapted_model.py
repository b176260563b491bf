"""The public face: PEFT's guide, several adapters at once, state dicts that come and go."""

import copy
import io
import itertools
from collections.abc import Mapping
from typing import Any

import peft
import pytest
import torch
from adapting import ADALORA, IA3, IDS, LORA, METHODS, by_row, picture, same, whole
from bases import DummyModel
from tolerance import assert_same
from torch import nn
from torch.utils.hooks import RemovableHandle

from models_registry.adapters.catalog import AdapterConfig, parse_config
from models_registry.adapters.checkpoint import fresh_checkpoint
from models_registry.adapters.lora import LoraConfig
from models_registry.errors import Conflict, Invalid, NotFound
from models_registry.injection import AdaptedModel
from models_registry.injection.layer import Adapters

GUIDE: dict[str, Any] = {
    "peft_type": "LORA",
    "lora_alpha": 16,
    "lora_dropout": 0.1,
    "r": 64,
    "bias": "none",
    "target_modules": ["linear"],
}


# ---- PEFT's guide -----------------------------------------------------------------------------------------------


def test_the_guides_example_has_the_keys_and_the_picture_of_pefts(base: nn.Module) -> None:
    fields = {key: value for key, value in GUIDE.items() if key != "peft_type"}
    theirs = peft.inject_adapter_in_model(peft.LoraConfig(**fields), copy.deepcopy(base))
    expected = peft.get_peft_model_state_dict(theirs)
    adapted = AdaptedModel(base)
    adapted.inject_adapter("default", parse_config(GUIDE))
    state = adapted.adapter_state_dict("default")
    assert {key: tensor.shape for key, tensor in state.items()} == {key: t.shape for key, t in expected.items()}
    assert len(state) == 2
    assert "default" in repr(base.get_submodule("linear"))
    assert "lora_A" in repr(base.get_submodule("linear"))
    assert "default" not in repr(base.get_submodule("lm_head"))
    assert torch.equal(whole(adapted, {"default": 1.0}), base(IDS))  # B begins at zero


def test_the_readmes_words_work(base: nn.Module) -> None:
    adapted = AdaptedModel(base)
    adapted.inject_adapter("tone", LoraConfig(target_modules=("linear",), init_lora_weights=False))
    out = by_row(adapted, {"tone": 1.0}, {}, {}, {})
    plain = base(IDS)
    assert not torch.allclose(out[0], plain[0])
    assert torch.equal(out[1:], plain[1:])


# ---- several at once --------------------------------------------------------------------------------------------


def test_rows_of_every_method_and_the_base_equal_their_solo_runs(adapted: AdaptedModel) -> None:
    compositions: list[Mapping[str, float]] = [{"lora": 1.0}, {"adalora": 1.0}, {"ia3": 1.0}, {}]
    together = by_row(adapted, *compositions)
    for row, composition in enumerate(compositions):
        alone = whole(adapted, composition, IDS[row : row + 1])
        assert_same(together[row : row + 1], alone)
    assert len({tuple(row.flatten().tolist()) for row in together}) == 4


def test_rows_may_come_in_any_order(adapted: AdaptedModel) -> None:
    names = ["ia3", "lora", "ia3", "adalora", "lora", "ia3"]
    ids = IDS[[0, 1, 2, 3, 0, 1]]
    together = by_row(adapted, *({name: 1.0} for name in names), ids=ids)
    for row, name in enumerate(names):
        assert_same(together[row], whole(adapted, {name: 1.0}, ids[row][None])[0])


def test_the_deltas_of_low_rank_adapters_add_up_at_their_weights(base: nn.Module) -> None:
    """On a linear model, so that the outputs add up as the deltas do."""
    adapted = AdaptedModel(base)
    for seed, name in enumerate(("a", "b")):
        adapted.inject_adapter(name, parse_config({**LORA, "target_modules": ["linear"]}), seed=seed)
    plain = base(IDS).detach()
    deltas = {name: whole(adapted, {name: 1.0}) - plain for name in ("a", "b")}
    mixed = by_row(adapted, {"a": 0.5, "b": -2.0}, {"b": 1.0}, {"a": 0.0}, {"a": 1.0, "b": 1.0})
    expected = torch.stack(
        [
            (plain + 0.5 * deltas["a"] - 2 * deltas["b"])[0],
            (plain + deltas["b"])[1],
            plain[2],
            (plain + deltas["a"] + deltas["b"])[3],
        ]
    )
    assert_same(mixed, expected)


@pytest.mark.parametrize("composition", [{"ia3": 0.5}, {"ia3": 1.0, "lora": 1.0}, {"lora": 1.0, "ia3": 1.0}])
def test_what_does_not_add_up_does_not_mix(adapted: AdaptedModel, composition: Mapping[str, float]) -> None:
    with pytest.raises(Invalid) as caught:
        adapted.routed_whole(composition)
    assert caught.value.faults[0].loc == ("adapter", "ia3")
    with pytest.raises(Invalid):
        adapted.routed([{}, composition])


def test_an_unknown_adapter_is_named(adapted: AdaptedModel) -> None:
    with pytest.raises(NotFound, match="'absent'"):
        adapted.routed([{"lora": 1.0}, {"absent": 1.0}])
    with pytest.raises(NotFound, match="'absent'"):
        adapted.routed_whole({"absent": 1.0})
    for ask in (adapted.eject_adapter, adapted.adapter_state_dict, adapted.checkpoint):
        with pytest.raises(NotFound, match="'absent'"):
            ask("absent")


@pytest.mark.parametrize("name", ["a.b", "keys", "linear", "weight", "forward", "adapters", "slots", "tone@3", "0", ""])
def test_any_name_will_do(base: nn.Module, name: str) -> None:
    adapted = AdaptedModel(base)
    adapted.inject_adapter(name, parse_config(LORA), seed=0)
    assert adapted.adapters == (name,)
    assert not torch.allclose(whole(adapted, {name: 1.0}), base(IDS))
    assert "linear.lora_A.weight" in adapted.adapter_state_dict(name)
    adapted.eject_adapter(name)
    assert adapted.adapters == ()


def test_a_name_is_taken_once(adapted: AdaptedModel) -> None:
    before = whole(adapted, {"lora": 1.0})
    with pytest.raises(Conflict, match="'lora'"):
        adapted.inject_adapter("lora", parse_config(ADALORA))
    assert torch.equal(whole(adapted, {"lora": 1.0}), before)


# ---- state ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", [LORA, ADALORA, IA3], ids=METHODS.keys())
def test_a_state_dict_goes_into_another_model_and_back(base: nn.Module, raw: dict[str, Any]) -> None:
    one, other = AdaptedModel(base), AdaptedModel(copy.deepcopy(base))
    one.inject_adapter("x", parse_config(raw), seed=1)
    other.inject_adapter("y", parse_config(raw), seed=2)
    assert not torch.allclose(whole(one, {"x": 1.0}), whole(other, {"y": 1.0}))
    other.load_adapter_state_dict("y", one.adapter_state_dict("x"))
    assert torch.equal(whole(one, {"x": 1.0}), whole(other, {"y": 1.0}))
    assert same(one.adapter_state_dict("x"), other.adapter_state_dict("y"))
    other.eject_adapter("y")
    assert torch.equal(base(IDS), other.module(IDS))


def test_a_state_that_does_not_fit_changes_nothing(adapted: AdaptedModel) -> None:
    before, state = whole(adapted, {"lora": 1.0}), adapted.adapter_state_dict("lora")
    bad = {**state, "linear.lora_A.weight": torch.full((3, 10), torch.inf)}
    with pytest.raises(Invalid, match="NaN or Inf"):
        adapted.load_adapter_state_dict("lora", bad)
    assert torch.equal(whole(adapted, {"lora": 1.0}), before)
    assert same(adapted.adapter_state_dict("lora"), state)


def test_what_a_caller_does_with_his_tensors_afterwards_reaches_nobody(base: nn.Module) -> None:
    adapted = AdaptedModel(base)
    adapted.inject_adapter("x", parse_config(LORA), seed=1)
    given = adapted.adapter_state_dict("x")
    before = whole(adapted, {"x": 1.0})
    for tensor in given.values():
        tensor.zero_()
    assert torch.equal(whole(adapted, {"x": 1.0}), before)
    uploaded = adapted.adapter_state_dict("x")
    adapted.inject_adapter("y", parse_config(LORA), uploaded)
    for tensor in uploaded.values():
        tensor.zero_()
    assert torch.equal(whole(adapted, {"y": 1.0}), before)
    assert same(adapted.adapter_state_dict("y"), adapted.adapter_state_dict("x"))


def test_replacing_an_adapter_by_one_with_other_targets_leaves_nothing_of_it_behind(base: nn.Module) -> None:
    untouched = picture(base)
    adapted = AdaptedModel(base)
    adapted.inject_adapter("x", parse_config(LORA), seed=1)
    narrow = fresh_checkpoint(parse_config({**LORA, "target_modules": ["lm_head"]}), adapted.architecture, 1)
    adapted.attach_adapter("x", adapted.prepare_adapter(narrow))
    assert [n for n, part in base.named_modules() if "adapters" in dict(part.named_children())] == ["lm_head"]
    with pytest.raises(NotFound, match="serving alone"):
        adapted.adapter_state_dict("x")
    adapted.eject_adapter("x")
    assert same(picture(base), untouched)


def test_saving_the_model_saves_the_base_alone(adapted: AdaptedModel, base: nn.Module) -> None:
    file = io.BytesIO()
    torch.save(adapted.module.state_dict(), file)
    file.seek(0)
    DummyModel().load_state_dict(torch.load(file, weights_only=True))
    adapted.module.load_state_dict(DummyModel().state_dict())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_adapters_move_with_the_model(adapted: AdaptedModel, dtype: torch.dtype) -> None:
    before = {name: whole(adapted, {name: 1.0}) for name in METHODS}
    exact = {name: adapted.adapter_state_dict(name) for name in METHODS}
    adapted.module.to(dtype)
    for name, expected in before.items():
        out = whole(adapted, {name: 1.0})
        assert_same(out, expected.to(dtype), terms=10 + 3 + 10)  # of linear, of an adapter's rank, of lm_head
        assert same(adapted.adapter_state_dict(name), exact[name])


def test_what_is_injected_after_a_move_follows_it(base: nn.Module) -> None:
    adapted = AdaptedModel(base)
    base.to(torch.bfloat16)
    adapted.inject_adapter("x", parse_config(LORA))
    assert whole(adapted, {"x": 1.0}).dtype == torch.bfloat16


def test_bytes_are_those_of_the_folded_tensors(base: nn.Module) -> None:
    adapted = AdaptedModel(base)

    def size(config: AdapterConfig) -> int:
        return adapted.prepare_adapter(fresh_checkpoint(config, adapted.architecture, 0)).bytes

    assert size(parse_config({**LORA, "target_modules": ["linear"]})) == (3 * 10 + 10 * 3) * 8
    assert size(parse_config(ADALORA)) == (4 * 10 + 10 * 4) * 8
    assert size(parse_config(IA3)) == (10 + 10) * 8


def test_train_mode_drops_nothing_while_serving(base: nn.Module) -> None:
    adapted = AdaptedModel(base)
    adapted.inject_adapter("x", parse_config({**LORA, "lora_dropout": 0.9}), seed=0)
    calm = whole(adapted, {"x": 1.0})
    adapted.module.train()
    assert torch.equal(whole(adapted, {"x": 1.0}), calm)


def test_every_tensor_of_an_adapter_moves_with_the_model(adapted: AdaptedModel) -> None:
    adapted.module.to(torch.bfloat16)
    layers = [part for part in adapted.module.modules() if isinstance(part, Adapters)]
    tensors = [tensor for layer in layers for folded in layer.folded.values() for tensor in folded.tensors]
    assert len(layers) == 3
    assert {tensor.dtype for tensor in tensors} == {torch.bfloat16}


@pytest.mark.parametrize("after", [0, 1])
def test_an_adapter_whose_hooks_can_not_all_be_placed_leaves_everything_as_it_was(
    monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)).eval()
    adapted, x = AdaptedModel(model), torch.ones(2, 4)
    adapted.inject_adapter(
        "lora", parse_config({"peft_type": "LORA", "target_modules": ["0"], "init_lora_weights": False}), seed=0
    )
    with adapted.routed_whole({"lora": 1.0}):
        before = model(x)
    ia3 = {"peft_type": "IA3", "target_modules": ["0", "1"], "feedforward_modules": ["0", "1"]}
    prepared = adapted.prepare_adapter(fresh_checkpoint(parse_config(ia3), adapted.architecture, 0))
    place, placed = nn.Module.register_forward_pre_hook, itertools.count()

    def fail(module: nn.Module, *args: Any, **kwargs: Any) -> RemovableHandle:
        if next(placed) == after:
            raise RuntimeError("no more hooks")
        return place(module, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(nn.Module, "register_forward_pre_hook", fail)
        with pytest.raises(RuntimeError, match="no more hooks"):
            adapted.attach_adapter("lora", prepared)
    with adapted.routed_whole({"lora": 1.0}):
        assert torch.equal(model(x), before)
    assert not any(layer._forward_pre_hooks for layer in model)  # pyright: ignore[reportPrivateUsage] - torch's own
    adapted.eject_adapter("lora")
    assert [name for name, _ in model.named_modules()] == ["", "0", "1"]
