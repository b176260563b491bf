"""Long work that nobody waits for any more ends before its next step."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from models_registry.adapters.cancellation import Stopped, never, while_wanted
from models_registry.adapters.catalog import parse_config
from models_registry.adapters.checkpoint import fresh_checkpoint
from models_registry.adapters.compose import Component, compose
from models_registry.adapters.merge_options import MergeOptions
from models_registry.architecture import describe
from models_registry.errors import Cancelled
from models_registry.records import Architecture

LORA: dict[str, Any] = {"peft_type": "LORA", "r": 2, "target_modules": ["0", "1", "2"], "init_lora_weights": False}


class Leaves:
    """Somebody who waits while the first `patience` steps begin."""

    def __init__(self, patience: int) -> None:
        self.asked = 0
        self._patience = patience

    def __call__(self) -> bool:
        self.asked += 1
        return self.asked > self._patience


@pytest.fixture(scope="module")
def base() -> Architecture:
    torch.manual_seed(0)
    return describe(nn.Sequential(*(nn.Linear(4, 4) for _ in range(3))))


def make(base: Architecture, stopped: Stopped) -> object:
    return fresh_checkpoint(parse_config(LORA), base, 1, stopped=stopped)


def merge(base: Architecture, stopped: Stopped) -> object:
    part = Component("part@1", fresh_checkpoint(parse_config(LORA), base, 1), 0.5)
    return compose([part, part], base, MergeOptions("svd", rank=2), stopped)


@pytest.mark.parametrize("work", [make, merge])
@pytest.mark.parametrize("patience", range(4))
def test_work_ends_before_its_next_target(
    work: Callable[[Architecture, Stopped], object], patience: int, base: Architecture
) -> None:
    leaves = Leaves(patience)
    with pytest.raises(Cancelled):
        work(base, leaves)
    assert leaves.asked == patience + 1


@pytest.mark.parametrize("work", [make, merge])
def test_who_waits_gets_what_is_made(work: Callable[[Architecture, Stopped], object], base: Architecture) -> None:
    stays = Leaves(4)
    assert work(base, stays)
    assert stays.asked == 4  # each of three targets, and what is done


def test_what_is_done_is_not_wanted_by_who_left_in_the_last_step() -> None:
    done: list[int] = []
    with pytest.raises(Cancelled):
        done.extend(while_wanted([1, 2], Leaves(2)))
    assert done == [1, 2]
    assert list(while_wanted([1, 2], never)) == [1, 2]
