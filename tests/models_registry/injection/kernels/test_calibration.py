"""The numbers that choose a kernel are measured where the model is, within a limit of time."""

import pytest
import torch
from bases import DummyModel
from torch import nn

from models_registry.architecture import describe
from models_registry.injection import AdaptedModel
from models_registry.injection.kernels.calibration import STEPS, calibrate
from models_registry.injection.kernels.kernel_table import KernelTable


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_each_number_of_adapters_gets_one_of_its_steps_or_none(dtype: torch.dtype) -> None:
    adapted = AdaptedModel(DummyModel().eval().to(dtype))
    adapted.calibrate()
    measured = adapted.kernels.stacked_up_to
    assert measured.keys() == STEPS.keys()
    assert all(measured[adapters] in (0, *steps) for adapters, steps in STEPS.items())


def test_it_keeps_the_limit_of_memory() -> None:
    module = DummyModel()
    assert calibrate(module, describe(module), KernelTable(max_stacked_bytes=7)).max_stacked_bytes == 7


def test_what_no_time_is_left_for_stays_as_it_was() -> None:
    module, table = DummyModel(), KernelTable({1: 5, 3: 9})
    assert calibrate(module, describe(module), table, limit_s=0) == table


@pytest.mark.parametrize("module", [nn.Conv1d(2, 2, 1), nn.ReLU(), nn.Sequential(nn.Embedding(3, 4))])
def test_a_model_without_linear_layers_has_nothing_to_measure(module: nn.Module) -> None:
    table = KernelTable()
    assert calibrate(module, describe(module), table) is table


def test_a_table_holds_from_each_of_its_numbers_on() -> None:
    table = KernelTable({2: 16, 8: 4})
    assert [table.stacks_up_to(adapters) for adapters in (1, 2, 7, 8, 100)] == [0, 16, 16, 4, 4]


def test_what_is_measured_leaves_out_weights_that_torch_does_not_compute_with() -> None:
    module = nn.Sequential(nn.Linear(4, 4)).to(torch.float8_e4m3fn)
    table = KernelTable()
    assert calibrate(module, describe(module), table) is table
