"""At one target module: every way that layers are called, and every batch that reaches them."""

import weakref
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from tolerance import assert_same
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from transformers.pytorch_utils import Conv1D

from models_registry.adapters.catalog import parse_config
from models_registry.errors import Invalid
from models_registry.injection import AdaptedModel

RAWS: Mapping[str, dict[str, Any]] = {
    "lora": {"peft_type": "LORA", "r": 2, "init_lora_weights": False},
    "adalora": {"peft_type": "ADALORA", "init_r": 2, "lora_alpha": 1, "init_lora_weights": False},
    "ia3": {"peft_type": "IA3", "feedforward_modules": [], "init_ia3_weights": False},
    "ia3 feedforward": {"peft_type": "IA3", "feedforward_modules": ["layer"], "init_ia3_weights": False},
}
LAYERS: Mapping[str, tuple[Callable[[], nn.Module], tuple[int, ...], tuple[str, ...]]] = {
    "linear": (lambda: nn.Linear(4, 6), (4,), tuple(RAWS)),
    "hf_conv1d": (lambda: Conv1D(6, 4), (4,), tuple(RAWS)),
    "embedding": (lambda: nn.Embedding(9, 6), (), ("lora",)),
    "conv1d": (lambda: nn.Conv1d(4, 6, 3, padding=1), (4, 5), ("lora",)),
    "conv2d": (lambda: nn.Conv2d(4, 6, 3), (4, 5, 5), tuple(RAWS)),
    "conv2d circular": (
        lambda: nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"),
        (4, 5, 5),
        ("lora", "adalora", "ia3"),
    ),
    "conv3d": (lambda: nn.Conv3d(4, 6, 2), (4, 3, 3, 3), ("lora", "ia3", "ia3 feedforward")),
}
CASES = [
    pytest.param(build, shape, RAWS[method], id=f"{method} {name}")
    for name, (build, shape, methods) in LAYERS.items()
    for method in methods
]


class Holder(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.layer(*args, **kwargs)


def adapt(layer: nn.Module, *raws: dict[str, Any]) -> AdaptedModel:
    """Adapters called "0", "1", … in float64, so that what differs is not rounding."""
    adapted = AdaptedModel(Holder(layer).double().eval())
    for number, raw in enumerate(raws):
        adapted.inject_adapter(str(number), parse_config({**raw, "target_modules": ["layer"]}), seed=number)
    return adapted


def batch(layer: nn.Module, rows: int, shape: tuple[int, ...]) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    if isinstance(layer, nn.Embedding):
        return torch.randint(9, (rows, *shape), generator=generator)
    return torch.randn((rows, *shape), generator=generator, dtype=torch.float64) * 0.3


@torch.no_grad()
def run(adapted: AdaptedModel, compositions: list[dict[str, float]], x: Tensor) -> Tensor:
    with adapted.routed(compositions):
        return adapted.module(x)


@torch.no_grad()
def run_whole(adapted: AdaptedModel, *args: Any, **kwargs: Any) -> Tensor:
    with adapted.routed_whole({"0": 1.0}):
        return adapted.module(*args, **kwargs)


@pytest.mark.parametrize(("build", "shape", "raw"), CASES)
def test_mixed_rows_equal_their_solo_runs(
    build: Callable[[], nn.Module], shape: tuple[int, ...], raw: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    adapted = adapt(build(), raw, raw)
    x = batch(adapted.module.get_submodule("layer"), 5, shape)
    compositions: list[dict[str, float]] = [{"1": 1.0}, {"0": 1.0}, {}, {"0": 1.0}, {"0": 1.0}]
    given = x.clone()
    together = run(adapted, compositions, x)
    for row, composition in enumerate(compositions):
        assert_same(together[row : row + 1], run(adapted, [composition], x[row : row + 1]))
    with torch.no_grad():
        plain = adapted.module(x)
    assert torch.equal(together[2], plain[2])
    assert all(not torch.allclose(together[row], plain[row]) for row in (0, 1, 3, 4))
    assert torch.equal(x, given)  # the caller's tensor is his own


@pytest.mark.parametrize(("build", "shape", "raw"), CASES)
def test_an_input_without_a_row_dimension_equals_a_batch_of_one(
    build: Callable[[], nn.Module], shape: tuple[int, ...], raw: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    adapted = adapt(build(), raw)
    x = batch(adapted.module.get_submodule("layer"), 1, shape)
    assert_same(run_whole(adapted, x[0]), run_whole(adapted, x)[0])


@pytest.mark.parametrize(("build", "shape", "raw"), CASES)
def test_a_layer_called_by_keyword_gets_its_adapter(
    build: Callable[[], nn.Module], shape: tuple[int, ...], raw: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    adapted = adapt(build(), raw)
    layer = adapted.module.get_submodule("layer")
    x = batch(layer, 2, shape)
    name = "x" if isinstance(layer, Conv1D) else "input"
    assert torch.equal(run_whole(adapted, **{name: x}), run_whole(adapted, x))


@pytest.mark.parametrize("raw", RAWS.values(), ids=RAWS.keys())
def test_rows_may_have_any_number_of_dimensions(raw: dict[str, Any]) -> None:
    adapted = adapt(nn.Linear(4, 6), raw)
    x = torch.randn(3, 2, 5, 4, dtype=torch.float64)
    deep = run(adapted, [{"0": 1.0}, {}, {"0": 1.0}], x)
    flat = run(adapted, [{"0": 1.0}] * 10, x[0].reshape(10, 4))
    assert_same(deep[0].reshape(10, 6), flat)


@pytest.mark.parametrize("raw", RAWS.values(), ids=RAWS.keys())
def test_an_empty_batch_stays_empty(raw: dict[str, Any]) -> None:
    adapted = adapt(nn.Linear(4, 6), raw)
    assert run(adapted, [], torch.zeros(0, 4, dtype=torch.float64)).shape == (0, 6)
    assert run_whole(adapted, torch.zeros(0, 4, dtype=torch.float64)).shape == (0, 6)
    assert run_whole(adapted, torch.zeros(2, 0, 4, dtype=torch.float64)).shape == (2, 0, 6)


@pytest.mark.parametrize("raw", RAWS.values(), ids=RAWS.keys())
@pytest.mark.parametrize("rows", [1, 3])
def test_rows_that_are_not_the_batchs_are_refused_with_the_modules_name(raw: dict[str, Any], rows: int) -> None:
    adapted = adapt(nn.Linear(4, 6), raw)
    with pytest.raises(Invalid, match=rf"{rows} rows.*'layer'.*\[2, 4\]"):
        run(adapted, [{"0": 1.0}] * rows, torch.randn(2, 4, dtype=torch.float64))
    x = torch.ones(2, 4, dtype=torch.float64)
    assert torch.equal(adapted.module(x), adapted.module(x))


def test_rows_of_the_base_need_no_rows_to_be_told_apart() -> None:
    adapted = adapt(nn.Linear(4, 6), RAWS["lora"])
    assert run(adapted, [{}] * 3, torch.randn(2, 4, dtype=torch.float64)).shape == (2, 6)


def test_one_token_alone_gets_its_adapter() -> None:
    adapted = adapt(nn.Embedding(9, 6), RAWS["lora"])
    one = run_whole(adapted, torch.tensor(3))
    assert_same(one, run_whole(adapted, torch.tensor([3]))[0])
    assert not torch.allclose(one, adapted.module(torch.tensor(3)))


@pytest.mark.parametrize("raw", RAWS.values(), ids=RAWS.keys())
def test_inputs_need_not_be_contiguous(raw: dict[str, Any]) -> None:
    adapted = adapt(nn.Linear(4, 6), raw)
    turned = torch.randn(4, 3, 2, dtype=torch.float64).permute(2, 1, 0)
    compositions: list[dict[str, float]] = [{"0": 1.0}, {}]
    assert_same(run(adapted, compositions, turned), run(adapted, compositions, turned.contiguous()))


@pytest.mark.parametrize("raw", RAWS.values(), ids=RAWS.keys())
def test_outputs_need_not_be_contiguous(raw: dict[str, Any]) -> None:
    """A subclass that turns its output's memory, as channels-last kernels do."""

    class Turned(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
            return super().forward(input).transpose(0, 1).contiguous().transpose(0, 1)

    torch.manual_seed(0)
    turned, plain = Turned(4, 6), nn.Linear(4, 6)
    plain.load_state_dict(turned.state_dict())
    x = torch.randn(3, 5, 4, dtype=torch.float64)
    compositions: list[dict[str, float]] = [{"0": 1.0}, {}, {"0": 1.0}]
    assert_same(run(adapt(turned, raw), compositions, x), run(adapt(plain, raw), compositions, x))


@pytest.mark.parametrize("memory", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("method", ["lora", "adalora", "ia3", "ia3 feedforward"])
def test_images_may_lie_in_memory_either_way(method: str, memory: torch.memory_format) -> None:
    adapted = adapt(nn.Conv2d(4, 6, 3), RAWS[method])
    x = torch.randn(2, 4, 5, 5, dtype=torch.float64)
    assert_same(run_whole(adapted, x.to(memory_format=memory)), run_whole(adapted, x))


@pytest.mark.parametrize(("build", "shape", "raw"), CASES)
def test_autocast_works_as_on_the_base(
    build: Callable[[], nn.Module], shape: tuple[int, ...], raw: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    adapted = adapt(build(), raw)
    adapted.module.float()  # autocast lets float64 be
    x = batch(adapted.module.get_submodule("layer"), 2, shape)
    x = x.float() if x.is_floating_point() else x
    exact = run_whole(adapted, x)
    with torch.autocast("cpu", torch.bfloat16):
        out = run_whole(adapted, x)
        plain = adapted.module(x)
    assert out.dtype == plain.dtype
    # Of the widest kernel and of the rank, also where the base's own output stays in float32.
    assert_same(out.bfloat16(), exact.bfloat16(), terms=4 * 9 + 2)


@pytest.mark.parametrize("raw", RAWS.values(), ids=RAWS.keys())
def test_a_parametrised_layer_takes_adapters(raw: dict[str, Any]) -> None:
    adapted = adapt(weight_norm(nn.Linear(4, 6)), raw)
    x = torch.randn(2, 4, dtype=torch.float64)
    out = run(adapted, [{"0": 1.0}, {}], x)
    plain = adapted.module(x)
    assert not torch.allclose(out[0], plain[0])
    assert torch.equal(out[1], plain[1])


@pytest.mark.parametrize("raw", RAWS.values(), ids=RAWS.keys())
def test_inference_mode_and_grad_mode_agree(raw: dict[str, Any]) -> None:
    adapted = adapt(nn.Linear(4, 6), raw)
    x = torch.randn(2, 3, 4, dtype=torch.float64)
    with torch.inference_mode(), adapted.routed([{"0": 1.0}, {}]):
        inferred = adapted.module(x)
    with adapted.routed([{"0": 1.0}, {}]):
        tracked = adapted.module(x)
    assert tracked.requires_grad
    assert torch.equal(inferred, tracked.detach())


def test_a_module_that_stands_at_two_places_acts_at_both() -> None:
    shared = nn.Linear(4, 4)
    module = nn.Sequential(shared, nn.ReLU(), shared).double()
    adapted = AdaptedModel(module)
    adapted.inject_adapter("0", parse_config({**RAWS["lora"], "target_modules": ["0"]}), seed=0)
    x = torch.randn(2, 4, dtype=torch.float64)
    a, b = adapted.adapter_state_dict("0").values()
    with torch.no_grad():
        h = torch.relu(shared(x) + x @ a.T @ b.T * 4)
        expected = shared(h) + h @ a.T @ b.T * 4
    assert_same(run_whole(adapted, x), expected)


def test_a_strangers_hooks_still_run() -> None:
    layer = nn.Linear(4, 6)
    seen: list[Tensor] = []
    layer.register_forward_hook(lambda module, args, out: seen.append(out.clone()))
    adapted = adapt(layer, RAWS["lora"])
    run_whole(adapted, torch.randn(2, 4, dtype=torch.float64))
    assert len(seen) == 1


def test_a_lone_token_id_may_come_again_under_one_routing() -> None:
    adapted = adapt(nn.Embedding(9, 6), RAWS["lora"])
    with torch.no_grad(), adapted.routed_whole({"0": 1.0}):
        first, second = (adapted.module(torch.tensor(3)) for _ in range(2))
    assert torch.equal(first, second)


# ---- what is kept of compositions -----------------------------------------------------------------------------------


def test_more_compositions_than_are_kept_are_answered_as_each_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models_registry.injection.layer.MOST_KEPT", 2)
    torch.manual_seed(0)
    layer = nn.Linear(4, 6)
    x = batch(layer, 1, (4,))
    weights = [0.5, 1.0, 2.0, 3.0, 0.5]
    adapted = adapt(layer, RAWS["lora"])

    answers = [run(adapted, [{"0": weight}], x) for weight in weights]

    whole = run(adapted, [{"0": 1.0}], x) - layer(x)
    for weight, answer in zip(weights, answers, strict=True):
        assert_same(answer, layer(x) + weight * whole)


def test_what_was_kept_of_an_adapter_goes_with_it() -> None:
    adapted = adapt(nn.Linear(4, 6), RAWS["lora"], RAWS["lora"])  # the other one stays
    run(adapted, [{"0": 1.0}, {}], batch(nn.Linear(4, 6), 2, (4,)))
    tensors = [weakref.ref(tensor) for tensor in adapted.checkpoint("0").tensors.values()]

    adapted.eject_adapter("0")

    assert [tensor() for tensor in tensors] == [None, None]
