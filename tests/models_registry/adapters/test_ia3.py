"""What is IA3's own, apart from what parity with PEFT shows: which side is scaled, shapes, initial weights."""

from typing import Any

import pytest
from torch import nn

from models_registry.adapters.catalog import parse_config
from models_registry.adapters.checkpoint import fresh_checkpoint
from models_registry.adapters.ia3 import IA3Config
from models_registry.architecture import describe
from models_registry.records import ModuleInfo

LINEAR = ModuleInfo("block.linear", "Linear", "linear", 5, 7)
LOOKALIKE = ModuleInfo("block.xlinear", "Linear", "linear", 5, 7)
CONV2D = ModuleInfo("conv", "Conv2d", "conv2d", 4, 6, (3, 2), 2)
CONV3D = ModuleInfo("conv", "Conv3d", "conv3d", 4, 6, (3, 2, 2))


def ia3(feedforward: list[str] | str | None = None, **fields: Any) -> IA3Config:
    raw = {"peft_type": "IA3", "target_modules": ["layer"], "feedforward_modules": feedforward or [], **fields}
    config = parse_config(raw)
    assert isinstance(config, IA3Config)
    return config


@pytest.mark.parametrize(
    ("target", "on_output", "on_input"),
    [(LINEAR, (7, 1), (1, 5)), (CONV2D, (1, 6, 1, 1), (1, 4, 1, 1)), (CONV3D, (1, 6, 1, 1, 1), (1, 4, 1, 1, 1))],
)
def test_the_vector_spans_the_side_that_it_scales(
    target: ModuleInfo, on_output: tuple[int, ...], on_input: tuple[int, ...]
) -> None:
    assert ia3().shapes(target) == {"ia3_l": on_output}
    assert ia3([target.name]).shapes(target) == {"ia3_l": on_input}


@pytest.mark.parametrize("feedforward", [["linear"], ["block.linear"], r".*\.linear"])
def test_feedforward_layers_are_found_by_their_names(feedforward: list[str] | str) -> None:
    assert ia3(feedforward).is_feedforward(LINEAR)
    assert not ia3(feedforward).is_feedforward(LOOKALIKE)


def test_it_begins_as_the_base() -> None:
    base = describe(nn.ModuleDict({"layer": nn.Linear(5, 7)}))
    (vector,) = fresh_checkpoint(ia3(), base, 0).tensors.values()
    assert bool((vector == 1).all())


def test_without_initialisation_it_is_drawn() -> None:
    base = describe(nn.ModuleDict({"layer": nn.Linear(5, 700)}))
    (vector,) = fresh_checkpoint(ia3(init_ia3_weights=False), base, 0).tensors.values()
    assert float(vector.std()) == pytest.approx(1, rel=0.15)
    assert abs(float(vector.mean())) < 0.15
