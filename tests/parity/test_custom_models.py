"""The cases of PEFT's own tests of custom models, for the methods that we serve: the same numbers or a refusal by name.

The models are ours, with layers of the same kinds and shapes in the same order.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import peft
import pytest
import torch
from parity.oracle import assert_differs, assert_same_tensors, ours, peft_config, run, run_ours
from tolerance import assert_same
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from models_registry.adapters.catalog import parse_config
from models_registry.adapters.method import PEFT_PREFIX
from models_registry.errors import Invalid
from models_registry.injection import AdaptedModel

pytestmark = [
    pytest.mark.deep,
    pytest.mark.filterwarnings(r"ignore:Adapter 'default'. . LoRA tensor\(s\) have invalid shape"),
]


class Chain(nn.Module):
    """Named layers one after the other, each on its input in the shape that it takes, and log-probabilities at last."""

    def __init__(self, layers: Mapping[str, nn.Module], shapes: Mapping[str, tuple[int, ...]]) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self._order, self._shapes = tuple(layers), dict(shapes)

    def forward(self, x: Tensor) -> Tensor:
        for name in self._order:
            layer = self.get_submodule(name)
            if name != "emb":
                x = x.double()
            x = x.reshape(self._shapes[name]) if name in self._shapes else x
            x = layer(x, x, x)[0] if name == "mha" else layer(x)
            x = x if name in ("emb", "mha", self._order[-1]) else torch.relu(x)
        return torch.log_softmax(x, dim=-1)


def numbers() -> Tensor:
    return torch.arange(90).view(9, 10)


def many_numbers() -> Tensor:
    return torch.arange(9 * 16 * 20 * 20).view(9, 16, 20, 20) / 1000


@dataclass(frozen=True)
class Custom:
    layers: Callable[[], dict[str, nn.Module]]
    shapes: Mapping[str, tuple[int, ...]]
    inputs: Callable[[], Tensor] = numbers

    def base(self) -> nn.Module:
        torch.manual_seed(0)
        return Chain(self.layers(), self.shapes).double().eval()


CUSTOM: Mapping[str, Custom] = {
    "MLP": Custom(lambda: {"lin0": nn.Linear(10, 20), "drop": nn.Dropout(0.5), "lin1": nn.Linear(20, 2)}, {}),
    "EmbConv1D": Custom(
        lambda: {"emb": nn.Embedding(100, 5), "conv1d": Conv1D(1, 5), "lin0": nn.Linear(10, 2)}, {"lin0": (-1, 10)}
    ),
    "Conv1d": Custom(
        lambda: {"conv1d": nn.Conv1d(1, 1, 2), "lin0": nn.Linear(9, 2)}, {"conv1d": (-1, 1, 10), "lin0": (-1, 9)}
    ),
    "Conv2d": Custom(
        lambda: {"conv2d": nn.Conv2d(5, 10, 3), "lin0": nn.Linear(10, 2)}, {"conv2d": (-1, 5, 3, 3), "lin0": (-1, 10)}
    ),
    "Conv2dGroups": Custom(
        lambda: {"lin0": nn.Linear(90, 288), "conv2d": nn.Conv2d(16, 16, 3, groups=8), "lin1": nn.Linear(16, 2)},
        {"lin0": (90,), "conv2d": (2, 16, 3, 3), "lin1": (-1, 16)},
    ),
    "Conv2dGroups2": Custom(
        lambda: {"conv2d": nn.Conv2d(16, 32, 3, padding=1, groups=2), "lin0": nn.Linear(12800, 2)},
        {"lin0": (-1, 12800)},
        many_numbers,
    ),
    "Conv3d": Custom(
        lambda: {"conv3d": nn.Conv3d(5, 10, 3), "lin0": nn.Linear(10, 2)},
        {"conv3d": (-1, 5, 3, 3, 3), "lin0": (-1, 10)},
        lambda: torch.stack([numbers()] * 3, dim=-1),
    ),
    "MHA": Custom(lambda: {"mha": nn.MultiheadAttention(10, 2), "lin0": nn.Linear(10, 2)}, {}),
}


@dataclass(frozen=True)
class Case:
    model: str
    raw: Mapping[str, Any]
    refused: str | None = None
    """What the refusal names."""


def lora(model: str, targets: str | list[str] | None, refused: str | None = None, **fields: Any) -> Case:
    return Case(model, {"peft_type": "LORA", "target_modules": targets, **fields}, refused)


def ia3(model: str, targets: str | list[str], feedforward: str | list[str], **fields: Any) -> Case:
    return Case(model, {"peft_type": "IA3", "target_modules": targets, "feedforward_modules": feedforward, **fields})


def adalora(model: str, targets: list[str], **fields: Any) -> Case:
    return Case(model, {"peft_type": "ADALORA", "target_modules": targets, "total_step": 1, **fields})


def lora_cases() -> Iterator[Case]:
    yield lora("MLP", "lin0")
    yield lora("MLP", ["lin0"])
    yield lora("MLP", ["lin1"])
    yield lora("MLP", ["lin0", "lin1"])
    yield lora("MLP", ["lin0"], modules_to_save=["lin1"])
    yield lora("MLP", ["lin0"], lora_alpha=4, lora_dropout=0.1)
    yield lora("MLP", ["lin0"], use_dora=True)
    yield lora("MLP", ["lin0", "lin1"], use_dora=True)
    yield lora("MLP", ["lin0"], "kasa_config", kasa_config={"beta": 1.0}, r=4)
    yield lora("MLP", ["lin0"], init_lora_weights="mica", r=4)
    yield lora("MLP", "lin1", use_dora=True, lora_alpha=32)
    for init in ("random", "batch_average", "batch_average_once"):
        yield lora("MLP", ["lin0"], velora_config={"num_groups": 2, "init_type": init})
    for dora in (False, True):
        for targets in (["conv1d"], ["emb"], ["emb", "conv1d"]):
            yield lora("EmbConv1D", targets, use_dora=dora)
    yield lora("EmbConv1D", ["conv1d"], trainable_token_indices={"emb": [0, 10]})
    for model, targets in (
        ("Conv1d", ["conv1d"]),
        ("Conv2d", ["conv2d"]),
        ("Conv2d", ["conv2d", "lin0"]),
        ("Conv2dGroups", ["conv2d"]),
        ("Conv2dGroups2", ["conv2d"]),
        ("Conv3d", ["conv3d"]),
        ("Conv3d", ["conv3d", "lin0"]),
    ):
        for dora in (False, True):
            yield lora(model, targets, use_dora=dora)
    yield lora("MLP", ["lin0", "lin1"], lora_bias=True, lora_alpha=32)
    yield lora("Conv2d", ["conv2d"], lora_bias=True, lora_alpha=32)
    yield lora("Conv3d", ["conv3d"], lora_bias=True, lora_alpha=32)
    yield lora("MHA", ["mha"])
    yield lora("MHA", ["mha", "lin0"])
    yield lora("MLP", None, "target_parameters", target_parameters=["lin0.weight"])
    yield lora("MLP", ["lin0"], "target_parameters", target_parameters=["lin1.weight"])
    yield lora("MLP", ["lin0"], monteclora_config={"num_samples": 2})
    for blocks in ({"target_modules_bd_a": ["lin0"]}, {"target_modules_bd_b": ["lin1"]}, {"nblocks": 2}):
        yield lora("MLP", ["lin0", "lin1"], "use_bdlora", use_bdlora=blocks)


def ia3_cases() -> Iterator[Case]:
    yield ia3("MLP", "lin0", [])
    yield ia3("MLP", "lin0", "lin0")
    for targets in (["lin0"], ["lin1"], ["lin0", "lin1"]):
        yield ia3("MLP", targets, [])
        yield ia3("MLP", targets, targets)
    yield ia3("MLP", ["lin0"], ["lin0"], modules_to_save=["lin1"])
    yield ia3("EmbConv1D", ["conv1d"], ["conv1d"])
    yield ia3("EmbConv1D", ["conv1d", "lin0"], ["conv1d", "lin0"])
    yield ia3("EmbConv1D", ["conv1d"], ["conv1d"], modules_to_save=["lin0"])
    for model, conv in (("Conv2d", "conv2d"), ("Conv3d", "conv3d")):
        yield ia3(model, [conv], [])
        yield ia3(model, [conv], [conv])
        for feedforward in ([], [conv], [conv, "lin0"]):
            yield ia3(model, [conv, "lin0"], feedforward)


def adalora_cases() -> Iterator[Case]:
    yield adalora("MLP", ["lin0"], orth_reg_weight=0)
    yield adalora("MLP", ["lin0", "lin1"])
    yield adalora("Conv2d", ["conv2d"])
    yield adalora("Conv2d", ["conv2d", "lin0"])


TRAINING_ONLY = ("lin0.lora_velora_", "lin0.lora_monteclora_")
"""How the names of tensors begin that PEFT saves for those who train on."""
CASES = [*lora_cases(), *ia3_cases(), *adalora_cases()]
EQUAL = [case for case in CASES if case.refused is None]
REFUSED = [case for case in CASES if case.refused is not None]
# PEFT's has the same numbers of cases.
assert (len([*lora_cases()]), len([*ia3_cases()]), len([*adalora_cases()])) == (46, 22, 4)


def label(case: Case) -> str:
    fields = ", ".join(f"{key}={value}" for key, value in case.raw.items() if key != "peft_type")
    return f"{case.raw['peft_type']} {case.model} {fields}"


def theirs(case: Case, seed: int = 7) -> tuple[peft.PeftModel, dict[str, Tensor]]:
    """PEFT's model, with numbers that matter, and its state."""
    torch.manual_seed(seed)
    base = CUSTOM[case.model].base()
    if case.raw.get("init_lora_weights") == "mica":  # which PEFT begins in float32 at most
        base = base.float()
    model = peft.get_peft_model(base, peft_config(case.raw))  # pyright: ignore[reportArgumentType] - any module will do
    assert isinstance(model, peft.PeftModel)
    model.double()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and "ranknum" not in name:  # which PEFT unfreezes when it makes it float64
            parameter.data += torch.randn(parameter.shape) * 0.3
    state = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
    return model.eval(), {key.removeprefix(PEFT_PREFIX): tensor.detach().clone() for key, tensor in state.items()}


@pytest.mark.parametrize("case", EQUAL, ids=label)
def test_it_computes_what_peft_computes(case: Case) -> None:
    base, inputs = CUSTOM[case.model].base(), {"x": CUSTOM[case.model].inputs()}
    model, state = theirs(case)
    adapted = ours(base, case.raw, state)
    expected, plain = run(model, inputs), run(base, inputs)
    assert_same(run_ours(adapted, inputs), expected)
    assert_differs(expected, plain)
    assert torch.equal(run(adapted.module, inputs), plain)
    served = {key: tensor for key, tensor in state.items() if not key.startswith(TRAINING_ONLY)}
    assert_same_tensors(adapted.adapter_state_dict("x"), served)


@pytest.mark.parametrize("case", REFUSED, ids=label)
def test_it_is_refused_by_name(case: Case) -> None:
    with pytest.raises(Invalid) as caught:
        parse_config(case.raw)
    assert [fault.loc for fault in caught.value.faults] == [("config", case.refused)]


@pytest.mark.parametrize("second", [["lin0"], ["lin1"]], ids=["same layer", "another layer"])
@pytest.mark.parametrize("make", [lora, adalora], ids=["LORA", "ADALORA"])
def test_two_active_adapters_add_up_as_in_peft(make: Callable[..., Case], second: list[str]) -> None:
    first_case, second_case = make("MLP", ["lin0"]), make("MLP", second)
    inputs = {"x": numbers()}
    model, _ = theirs(first_case)
    model.add_adapter("other", peft_config({**second_case.raw, "inference_mode": True}))
    _, second_state = theirs(second_case, seed=8)
    prefixed = {f"{PEFT_PREFIX}{key}": tensor for key, tensor in second_state.items()}
    peft.set_peft_model_state_dict(model, prefixed, adapter_name="other")
    model.base_model.set_adapter(["default", "other"], inference_mode=True)  # pyright: ignore[reportCallIssue] - its tuner
    first_state = peft.get_peft_model_state_dict(model, adapter_name="default")
    adapted = AdaptedModel(CUSTOM["MLP"].base())
    adapted.inject_adapter("a", parse_config(first_case.raw), first_state)
    adapted.inject_adapter("b", parse_config(second_case.raw), second_state)
    with adapted.routed_whole({"a": 1.0, "b": 1.0}):
        actual = run(adapted.module, inputs)
    expected = run(model.eval(), inputs)
    assert_same(actual, expected)
    with adapted.routed_whole({"a": 1.0}):
        assert_differs(expected, run(adapted.module, inputs))
