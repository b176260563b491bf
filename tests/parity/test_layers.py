"""Every method on every layer kind: what PEFT made computes the same in ours, and the reverse."""

from collections.abc import Mapping
from typing import Any

import peft
import pytest
import torch
import torch.nn.functional as F
from parity.layers import ADALORA, BEYOND_PEFT, CASES, IA3, IA3_FEEDFORWARD, LORA, Layer
from parity.oracle import assert_differs, assert_same_tensors, ours, peft_config, peft_model, peft_state, run, run_ours
from tolerance import assert_same
from torch import Tensor, nn

FRESH: Mapping[str, Mapping[str, Any]] = {
    "LORA": {"init_lora_weights": False},
    "ADALORA": {"init_lora_weights": False},
    "IA3": {"init_ia3_weights": False},
}

CONVOLVE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


@pytest.mark.parametrize(("raw", "layer"), CASES.values(), ids=CASES.keys())
def test_what_peft_trained_computes_the_same_here(raw: Mapping[str, Any], layer: Layer) -> None:
    base, inputs = layer.base(), layer.inputs()
    theirs = peft_model(base, raw)
    adapted = ours(base, raw, peft_state(theirs))
    expected = run(theirs, inputs)
    assert_same(run_ours(adapted, inputs), expected)
    assert_differs(expected, run(base, inputs))
    assert torch.equal(run(adapted.module, inputs), run(base, inputs))
    assert_same_tensors(adapted.adapter_state_dict("x"), peft_state(theirs))


@pytest.mark.parametrize(("raw", "layer"), CASES.values(), ids=CASES.keys())
def test_what_we_create_computes_the_same_in_peft(raw: Mapping[str, Any], layer: Layer) -> None:
    raw = {**raw, **FRESH[raw["peft_type"]]}
    base, inputs = layer.base(), layer.inputs()
    adapted = ours(base, raw)
    theirs = peft_model(base, raw)
    outcome = peft.set_peft_model_state_dict(theirs, adapted.adapter_state_dict("x"))
    assert not outcome.unexpected_keys
    actual = run_ours(adapted, inputs)
    assert_same(actual, run(theirs, inputs))
    assert_differs(actual, run(base, inputs))


@pytest.mark.parametrize("raw", [LORA, ADALORA, IA3, IA3_FEEDFORWARD], ids=lambda raw: raw["peft_type"])
def test_initial_weights_have_the_keys_and_shapes_of_pefts(raw: Mapping[str, Any]) -> None:
    layer = CASES["lora linear"][1]
    theirs = peft.inject_adapter_in_model(peft_config(raw), layer.base())
    created = ours(layer.base(), raw).adapter_state_dict("x")
    expected = peft.get_peft_model_state_dict(theirs)
    assert {key: tensor.shape for key, tensor in created.items()} == {key: t.shape for key, t in expected.items()}


@pytest.mark.parametrize("layer", BEYOND_PEFT.values(), ids=BEYOND_PEFT.keys())
def test_lora_on_a_convolution_is_the_convolution_by_its_product(layer: Layer) -> None:
    """`B` mixes `A`'s outputs at each place, so `B * (A * x)` is one convolution with the kernel `B·A`."""
    base, (x,) = layer.base(), layer.inputs().values()
    adapted = ours(base, {**LORA, "init_lora_weights": False})
    a, b = adapted.adapter_state_dict("x").values()
    conv = base.get_submodule("layer")
    assert isinstance(conv, nn.Conv1d | nn.Conv2d | nn.Conv3d)
    delta = grouped_product(b, a, conv.groups)
    wide = type(conv)(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,  # pyright: ignore[reportArgumentType] - each class wants its own number of sizes
        conv.stride,  # pyright: ignore[reportArgumentType]
        conv.padding,  # pyright: ignore[reportArgumentType]
        conv.dilation,  # pyright: ignore[reportArgumentType]
        bias=False,
        padding_mode=conv.padding_mode,  # pyright: ignore[reportArgumentType]
        dtype=torch.float64,
    )
    with torch.no_grad():
        wide.weight.copy_(delta)
        expected = conv(x) + wide(x) * 6 / 4
    assert_same(run_ours(adapted, {"x": x}), expected)
    assert_differs(expected, run(base, {"x": x}))


def grouped_product(b: Tensor, a: Tensor, groups: int) -> Tensor:
    """`[out, in, k…]`: each group's outputs see that group's ranks only."""
    parts = zip(b.flatten(1).chunk(groups), a.flatten(1).chunk(groups), strict=True)
    return torch.cat([part_b @ part_a for part_b, part_a in parts]).view(len(b), *a.shape[1:])


@pytest.mark.parametrize("init", [True, False, "gaussian", "orthogonal"])
def test_initial_weights_are_drawn_as_peft_draws_them(init: bool | str) -> None:
    """Large layers, so that spreads tell the distributions apart; the draws themselves differ by generator."""
    raw = {**LORA, "r": 8, "init_lora_weights": init}
    layer = Layer(lambda: nn.Linear(400, 300), (400,))
    torch.manual_seed(0)
    expected = peft.get_peft_model_state_dict(peft.inject_adapter_in_model(peft_config(raw), layer.base()))
    assert_same_spread(ours(layer.base(), raw).adapter_state_dict("x"), expected)


@pytest.mark.parametrize("init", [True, False, "gaussian"])
@pytest.mark.parametrize(
    "layer",
    [
        Layer(lambda: nn.Embedding(500, 300), (4,), ids=True),
        Layer(lambda: nn.Conv2d(80, 90, 3), (80, 4, 4)),
        Layer(lambda: nn.Conv1d(80, 90, 3, groups=2), (80, 4)),
    ],
    ids=["embedding", "conv2d", "conv1d grouped"],
)
def test_initial_weights_of_other_layers_are_drawn_as_peft_draws_them(init: bool | str, layer: Layer) -> None:
    raw = {**LORA, "r": 8, "init_lora_weights": init}
    torch.manual_seed(0)
    expected = peft.get_peft_model_state_dict(peft.inject_adapter_in_model(peft_config(raw), layer.base()))
    assert_same_spread(ours(layer.base(), raw).adapter_state_dict("x"), expected)


@pytest.mark.parametrize("init", [True, False])
def test_adaloras_initial_weights_are_drawn_as_peft_draws_them(init: bool) -> None:
    raw = {**ADALORA, "init_r": 64, "target_r": 8, "init_lora_weights": init}
    layer = Layer(lambda: nn.Linear(400, 300), (400,))
    torch.manual_seed(0)
    expected = peft.get_peft_model_state_dict(peft.inject_adapter_in_model(peft_config(raw), layer.base()))
    assert_same_spread(ours(layer.base(), raw).adapter_state_dict("x"), expected)


def assert_same_spread(actual: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert actual.keys() == expected.keys()
    for key in expected:
        ours_std, peft_std = float(actual[key].std()), float(expected[key].std())
        assert ours_std == pytest.approx(peft_std, rel=0.25), key  # 64 numbers scatter by 9 %, the others by far less
        assert float(actual[key].abs().max()) == pytest.approx(float(expected[key].abs().max()), rel=0.5), key
        assert abs(float(actual[key].mean())) <= 0.5 * peft_std, key
