"""Half-precision bases: an adapter's own part is computed in float32 and rounded once with the base's output.

The oracle is the same base and adapter in float64. PEFT's error is that of its better way: with its adapters cast to
float32 (its default), or left in the base's dtype.
"""

import copy
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import peft
import pytest
import torch
from parity.oracle import peft_config
from tolerance import assert_same
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from models_registry.adapters.catalog import parse_config
from models_registry.injection import AdaptedModel

LORA: dict[str, Any] = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["layer"]}
ADALORA: dict[str, Any] = {"peft_type": "ADALORA", "init_r": 8, "target_r": 2, "lora_alpha": 16, "total_step": 10}
IA3: dict[str, Any] = {"peft_type": "IA3", "target_modules": ["layer"], "feedforward_modules": []}


class Model(nn.Module):
    """`layer` is adapted; a norm and a linear layer come after it."""

    def __init__(self, layer: nn.Module, features: int) -> None:
        super().__init__()
        self.layer = layer
        self.after = nn.LayerNorm(features)
        self.other = nn.Linear(features, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class Attending(Model):
    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x, x, x)[0]


class Through(Model):
    def forward(self, x: Tensor) -> Tensor:
        return self.other(self.after(self.layer(x)))


@dataclass(frozen=True)
class Case:
    raw: Mapping[str, Any]
    build: Callable[[], nn.Module]
    shape: tuple[int, ...] | None = (8, 64)
    """Of a row; None for token ids."""


def linear() -> nn.Module:
    return Model(nn.Linear(64, 48), 48)


def conv1d() -> nn.Module:
    return Model(Conv1D(48, 64), 48)


def conv2d() -> nn.Module:
    return Model(nn.Conv2d(8, 16, 3), 16)


def embedding() -> nn.Module:
    return Model(nn.Embedding(50, 48), 48)


def attention() -> nn.Module:
    return Attending(nn.MultiheadAttention(32, 4, batch_first=True), 32)


def through() -> nn.Module:
    return Through(nn.Linear(64, 48), 48)


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 64)
        self.layer = nn.Linear(64, 48)

    def forward(self, ids: Tensor) -> Tensor:
        return self.layer(self.embedding(ids))


IMAGE = (8, 8, 8)
CASES: Mapping[str, Case] = {
    "lora linear": Case(LORA, linear),
    "lora hf_conv1d": Case(LORA, conv1d),
    "lora embedding": Case(LORA, embedding, None),
    "lora conv2d": Case(LORA, conv2d, IMAGE),
    "lora attention": Case(LORA, attention, (6, 32)),
    "lora_bias linear": Case({**LORA, "lora_bias": True}, linear),
    "dora linear": Case({**LORA, "use_dora": True}, linear),
    "dora embedding": Case({**LORA, "use_dora": True}, embedding, None),
    "dora conv2d": Case({**LORA, "use_dora": True}, conv2d, IMAGE),
    "biases of targets": Case({**LORA, "bias": "lora_only"}, linear),
    "all biases": Case({**LORA, "bias": "all"}, through),
    "saved module": Case({**LORA, "modules_to_save": ["other"]}, through),
    "tokens": Case({**LORA, "trainable_token_indices": {"embedding": [1, 4, 9]}}, Tokens, None),
    "adalora linear": Case({**ADALORA, "target_modules": ["layer"]}, linear),
    "adalora conv2d": Case({**ADALORA, "target_modules": ["layer"]}, conv2d, IMAGE),
    "ia3 linear": Case(IA3, linear),
    "ia3 feedforward": Case({**IA3, "feedforward_modules": ["layer"]}, linear),
    "ia3 conv2d": Case(IA3, conv2d, IMAGE),
}
SIZES = {"small": 0.05, "like the base's": 0.3}
pytestmark = [
    pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to:UserWarning"),
    pytest.mark.filterwarnings("ignore:Note that `r` is not used in AdaLora:UserWarning"),
    pytest.mark.filterwarnings(r"ignore:Adapter 'default'. . LoRA tensor\(s\) have invalid shape"),
]


@dataclass(frozen=True)
class Errors:
    """Root mean square and largest distance from the oracle's output."""

    rms: float
    largest: float


def errors(output: Tensor, expected: Tensor) -> Errors:
    distance = output.double() - expected
    return Errors(float(distance.pow(2).mean().sqrt()), float(distance.abs().max()))


def adapter_of(base: nn.Module, raw: Mapping[str, Any], seed: int, size: float) -> peft.PeftModel:
    """PEFT's, with numbers of about `size`."""
    model = peft.get_peft_model(base, peft_config(raw), autocast_adapter_dtype=False)  # pyright: ignore[reportArgumentType] - any module will do
    assert isinstance(model, peft.PeftModel)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * size
    return model.eval()


@torch.no_grad()
def measure(case: Case, seed: int, dtype: torch.dtype, stored: torch.dtype, size: float) -> tuple[Errors, list[Errors]]:
    """Ours, and PEFT's two ways."""
    torch.manual_seed(seed)
    base = case.build().to(dtype).eval()
    x = torch.randint(50, (4, 9)) if case.shape is None else torch.randn(4, *case.shape).to(dtype)
    made = adapter_of(copy.deepcopy(base).double(), case.raw, seed, size)
    for parameter in made.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(stored).double()
    expected = made(x if case.shape is None else x.double())
    state = {key: t.to(stored) for key, t in peft.get_peft_model_state_dict(made, save_embedding_layers=False).items()}
    theirs: list[Errors] = []
    for cast in (True, False):
        model = peft.get_peft_model(copy.deepcopy(base), peft_config(case.raw), autocast_adapter_dtype=cast)  # pyright: ignore[reportArgumentType] - any module will do
        peft.set_peft_model_state_dict(model, state)
        theirs.append(errors(model.eval()(x), expected))
    adapted = AdaptedModel(base)
    adapted.inject_adapter("x", parse_config(case.raw), state)
    with adapted.routed_whole({"x": 1.0}):
        output = adapted.module(x)
    assert output.dtype is dtype
    return errors(output, expected), theirs


def compare(case: Case, dtype: torch.dtype, stored: torch.dtype, size: float, seeds: int) -> None:
    """Where roundings differ at all, chance makes 1 % of difference, and more of it in one number."""
    measured = [measure(case, seed, dtype, stored, size) for seed in range(seeds)]
    for way in (0, 1):
        assert statistics.median(mine.rms / theirs[way].rms for mine, theirs in measured) <= 1.02
        largest = max(mine.largest for mine, _ in measured), max(theirs[way].largest for _, theirs in measured)
        assert largest[0] <= 1.5 * largest[1]


DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@pytest.mark.parametrize("stored", ["float32", "the base's dtype"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_the_error_is_never_worse_than_pefts(case: Case, stored: str) -> None:
    dtype = torch.bfloat16
    compare(case, dtype, torch.float32 if stored == "float32" else dtype, SIZES["like the base's"], seeds=6)


@pytest.mark.deep
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())
@pytest.mark.parametrize("stored", ["float32", "the base's dtype"])
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES.keys())
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_the_error_is_never_worse_than_pefts_over_many_seeds(
    case: Case, dtype: torch.dtype, stored: str, size: float
) -> None:
    compare(case, dtype, torch.float32 if stored == "float32" else dtype, size, seeds=40)


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES.keys())
def test_rows_of_several_adapters_round_as_their_solo_runs(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    adapted = AdaptedModel(linear().to(dtype).eval())
    for seed, name in enumerate(("a", "b")):
        adapted.inject_adapter(name, parse_config({**LORA, "init_lora_weights": False}), seed=seed)
    x = torch.randn(3, 8, 64).to(dtype)
    compositions: list[dict[str, float]] = [{"a": 1.0}, {"a": 0.5, "b": 0.5}, {}]
    with torch.no_grad():
        with adapted.routed(compositions):
            mixed = adapted.module(x)
        for row, composition in enumerate(compositions):
            with adapted.routed_whole(composition):
                assert_same(adapted.module(x)[row], mixed[row], terms=1)
