"""Injection keeps the module what it was: while adapted, after the last ejection, and when something fails."""

import copy
from typing import Any

import peft
import pytest
import torch
from adapting import ADALORA, IA3, IDS, LORA, METHODS, by_row, picture, same, whole
from tolerance import assert_same
from torch import Tensor, nn

from models_registry.adapters.catalog import parse_config
from models_registry.adapters.checkpoint import fresh_checkpoint
from models_registry.errors import Conflict, Invalid
from models_registry.injection import AdaptedModel


def test_a_plain_call_is_the_base_bit_by_bit_before_between_and_after(base: nn.Module) -> None:
    expected, state = base(IDS), {key: tensor.clone() for key, tensor in base.state_dict().items()}
    adapted = AdaptedModel(base)
    for name, raw in METHODS.items():
        adapted.inject_adapter(name, parse_config(raw))
        whole(adapted, {name: 1.0})
        assert torch.equal(base(IDS), expected)
        assert same(dict(base.state_dict()), state)
    assert torch.equal(whole(adapted, {}), expected)
    assert torch.equal(by_row(adapted, {}, {}, {}, {}), expected)
    for name in METHODS:
        adapted.eject_adapter(name)
        assert torch.equal(base(IDS), expected)
        assert same(dict(base.state_dict()), state)


def test_modules_stay_the_objects_that_they_were_while_adapted(base: nn.Module) -> None:
    before = {name: (id(part), type(part)) for name, part in base.named_modules()}
    parameters = {name: id(p) for name, p in base.named_parameters()}
    adapted = AdaptedModel(base)
    for name, raw in METHODS.items():
        adapted.inject_adapter(name, parse_config(raw))
    assert {n: (id(p), type(p)) for n, p in base.named_modules() if not n.endswith(".adapters")} == before
    assert {name: id(p) for name, p in base.named_parameters()} == parameters


def test_a_target_gets_one_child_however_many_adapters_it_carries(adapted: AdaptedModel) -> None:
    assert len(list(adapted.module.get_submodule("linear").children())) == 1
    assert len(list(adapted.module.named_modules())) == 4 + 3


@pytest.mark.parametrize("order", [("lora", "adalora", "ia3"), ("ia3", "lora", "adalora"), ("adalora", "ia3", "lora")])
def test_ejecting_the_last_adapter_restores_the_module_exactly(base: nn.Module, order: tuple[str, ...]) -> None:
    base.get_submodule("linear").register_forward_hook(lambda *_: None)  # a stranger's, which stays
    before = picture(base)
    adapted = AdaptedModel(base)
    for name, raw in METHODS.items():
        adapted.inject_adapter(name, parse_config(raw))
    assert not same(picture(base), before)
    for name in order:
        adapted.eject_adapter(name)
    assert same(picture(base), before)


def test_ejecting_one_leaves_its_neighbours(adapted: AdaptedModel) -> None:
    expected = {name: whole(adapted, {name: 1.0}) for name in ("adalora", "ia3")}
    adapted.eject_adapter("lora")
    assert adapted.adapters == ("adalora", "ia3")
    for name, out in expected.items():
        assert torch.equal(whole(adapted, {name: 1.0}), out)
    assert not list(adapted.module.get_submodule("embedding").children())


def test_frozen_stays_frozen_and_gradients_reach_the_adapter_alone(base: nn.Module) -> None:
    """Serving's own path: folded, attached, routed; the base's parameters get no gradient from it."""
    base.requires_grad_(False)
    adapted = AdaptedModel(base)
    for name, raw in METHODS.items():
        checkpoint = fresh_checkpoint(parse_config(raw), adapted.architecture, 0)
        for tensor in checkpoint.tensors.values():
            tensor.requires_grad_(True)
        adapted.attach_adapter(name, adapted.prepare_adapter(checkpoint))
        with adapted.routed_whole({name: 1.0}):
            adapted.module(IDS).square().sum().backward()
        assert all(t.grad is not None and t.grad.any() for t in checkpoint.tensors.values()), name
    assert all(p.grad is None and not p.requires_grad for p in base.parameters())


@pytest.mark.parametrize("raw", [LORA, ADALORA, IA3], ids=METHODS.keys())
def test_gradients_are_pefts(base: nn.Module, raw: dict[str, Any]) -> None:
    kinds: dict[str, type[peft.PeftConfig]] = {
        "LORA": peft.LoraConfig,
        "ADALORA": peft.AdaLoraConfig,
        "IA3": peft.IA3Config,
    }
    fields = {key: value for key, value in raw.items() if key != "peft_type"}
    if raw["peft_type"] == "ADALORA":
        fields["total_step"] = 10
    theirs = peft.inject_adapter_in_model(kinds[raw["peft_type"]](**fields), copy.deepcopy(base)).eval()
    adapted = AdaptedModel(base)
    checkpoint = fresh_checkpoint(parse_config(raw), adapted.architecture, 0)
    peft.set_peft_model_state_dict(theirs, {key: tensor.clone() for key, tensor in checkpoint.tensors.items()})
    theirs(IDS).square().sum().backward()
    expected = {
        name.replace(".default", ""): p.grad
        for name, p in theirs.named_parameters()
        if "lora_" in name or "ia3_" in name
    }
    for tensor in checkpoint.tensors.values():
        tensor.requires_grad_(True)
    adapted.attach_adapter("x", adapted.prepare_adapter(checkpoint))
    with adapted.routed_whole({"x": 1.0}):
        adapted.module(IDS).square().sum().backward()
    for key, tensor in checkpoint.tensors.items():
        grad, theirs_grad = tensor.grad, expected[key]
        assert grad is not None
        assert theirs_grad is not None
        assert_same(grad, theirs_grad)


# ---- all or nothing ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "tensors"),
    [
        ({**LORA, "target_modules": ["linear", "nothing"]}, None),
        ({**LORA, "target_modules": ["linear"], "rank_pattern": {"absent": 2}}, None),
        ({**LORA, "target_modules": r".*"}, {}),
        (LORA, {}),
        (LORA, {"linear.lora_A.weight": torch.zeros(3, 10)}),
        ({**ADALORA, "target_modules": ["linear", "embedding"]}, None),
        ({**LORA, "init_lora_weights": "orthogonal", "r": 2}, None),
    ],
)
def test_whatever_fails_leaves_the_model_untouched(
    base: nn.Module, raw: dict[str, Any], tensors: dict[str, Tensor] | None
) -> None:
    before = picture(base)
    adapted = AdaptedModel(base)
    with pytest.raises(Invalid):
        adapted.inject_adapter("x", parse_config(raw), tensors)
    assert adapted.adapters == ()
    assert same(picture(base), before)


@pytest.mark.parametrize("occupied", [nn.Identity(), nn.Parameter(torch.zeros(1)), None, "a string"])
def test_a_target_that_has_the_childs_name_already_leaves_the_others_untouched(occupied: Any) -> None:
    """`a` comes first and could take the adapter; `b` can't."""
    module = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    module["b"].adapters = occupied
    before = picture(module)
    adapted = AdaptedModel(module)
    with pytest.raises(Conflict, match="'b'"):
        adapted.inject_adapter("x", parse_config({"peft_type": "LORA", "target_modules": ["a", "b"]}))
    assert same(picture(module), before)


def test_two_owners_can_not_adapt_the_same_layer(base: nn.Module) -> None:
    first, second = AdaptedModel(base), AdaptedModel(base)
    first.inject_adapter("x", parse_config(LORA))
    with pytest.raises(Conflict):
        second.inject_adapter("x", parse_config(LORA))
