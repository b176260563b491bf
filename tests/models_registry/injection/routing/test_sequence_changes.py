"""What a step of running sequences costs, and what adapters that change mean to it."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from tolerance import assert_same
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from models_registry.adapters.catalog import parse_config
from models_registry.errors import Invalid, NotFound
from models_registry.injection import AdaptedModel, Composition
from models_registry.injection.routing.sequence_routing import SequenceRouting
from tests.models_registry.injection.routing.sequences import LORA, ROWS, adapt, assert_each_is_alone, step


class Operations(TorchDispatchMode):
    """Counts them, by operator."""

    def __init__(self) -> None:
        super().__init__()
        self.each = Counter[object]()

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        self.each[func] += 1
        return func(*args, **(kwargs or {}))


def copies(adapted: AdaptedModel, sequences: SequenceRouting) -> int:
    """Into tensors that were there before."""
    with Operations() as counted:
        step(adapted, sequences)
    return counted.each[torch.ops.aten.copy_.default]


def test_a_composition_is_copied_when_it_joins_and_never_again() -> None:
    adapted = adapt(("lora", "other"))
    sequences = adapted.sequence_routing(ROWS)
    sequences.place(0, {"lora": 1.0})
    assert copies(adapted, sequences) > 0
    sequences.place(1, {"lora": 1.0})
    sequences.place(2, {})
    assert copies(adapted, sequences) == 0
    sequences.place(3, {"other": 1.0})
    one_more = copies(adapted, sequences)
    sequences.place(4, {"other": 0.5})
    assert 0 < copies(adapted, sequences) <= one_more


@pytest.mark.parametrize("name", ["lora", "dora", "biased", "ia3"])
def test_rows_of_linear_methods_cost_as_many_operations_as_one(name: str) -> None:
    adapted = adapt((name, "other"))
    sequences = adapted.sequence_routing(ROWS)
    counts: list[int] = []
    for row in range(ROWS):
        sequences.place(row, {name: 1.0})
        step(adapted, sequences)
        with Operations() as counted:
            step(adapted, sequences)
        counts.append(sum(counted.each.values()))
    assert counts[0] == counts[1] == counts[-2]


def test_a_composition_that_returns_is_not_copied_again() -> None:
    adapted = adapt(("lora", "other"))
    sequences = adapted.sequence_routing(ROWS)
    sequences.place(0, {"lora": 1.0})
    sequences.place(1, {"other": 1.0})
    step(adapted, sequences)
    sequences.clear(1)
    step(adapted, sequences)
    sequences.place(5, {"other": 1.0})
    assert copies(adapted, sequences) == 0
    sequences.move(5, 3)
    assert copies(adapted, sequences) == 0


def test_attaching_another_adapter_renews_no_plan_and_copies_nothing() -> None:
    adapted = adapt(("lora", "ia3"))
    sequences = adapted.sequence_routing(ROWS)
    sequences.place(0, {"lora": 1.0})
    sequences.place(1, {"ia3": 1.0})
    step(adapted, sequences)
    with sequences.active(ROWS) as made:
        before = {layer: plan.additions for layer, plan in made.plans.items()}
    adapted.inject_adapter("other", parse_config(LORA), seed=7)
    adapted.eject_adapter("other")
    assert copies(adapted, sequences) == 0
    with sequences.active(ROWS) as still:
        assert still is made
    assert all(plan.additions is before[layer] for layer, plan in made.plans.items())


def test_a_replaced_adapter_acts_as_it_is_now() -> None:
    adapted = adapt(("lora", "other", "ia3"))
    sequences = adapted.sequence_routing(ROWS)
    rows: list[Composition] = [{"lora": 1.0}, {"other": 1.0}, {"lora": 2.0, "other": 1.0}, {"ia3": 1.0}]
    for row, composition in enumerate(rows):
        sequences.place(row, composition)
    before = step(adapted, sequences, 4)

    adapted.eject_adapter("lora")
    adapted.inject_adapter("lora", parse_config({**LORA, "r": 20}), seed=9)
    adapted.load_adapter_state_dict("ia3", {key: 2 * value for key, value in adapted.adapter_state_dict("ia3").items()})

    after = step(adapted, sequences, 4)
    assert_each_is_alone(adapted, after, rows)
    assert not torch.allclose(after[0], before[0])
    assert torch.equal(after[1], before[1])


def test_a_step_with_an_ejected_adapter_is_refused() -> None:
    adapted = adapt(("lora", "other"))
    sequences = adapted.sequence_routing(ROWS)
    sequences.place(0, {"lora": 1.0})
    sequences.place(5, {"other": 1.0})
    adapted.eject_adapter("other")
    with pytest.raises(NotFound, match="'other'"):
        step(adapted, sequences)
    sequences.clear(5)
    assert_each_is_alone(adapted, step(adapted, sequences), [{"lora": 1.0}, *[{}] * (ROWS - 1)])


def test_a_model_that_moves_to_another_dtype_goes_on() -> None:
    adapted = adapt(("lora", "dora"))
    sequences = adapted.sequence_routing(ROWS)
    sequences.place(0, {"lora": 1.0})
    sequences.place(1, {"dora": 1.0})
    exact = step(adapted, sequences)
    adapted.module.float()
    assert_same(step(adapted, sequences), exact.float(), terms=16 + 24 + 4)


def test_what_cannot_be_answered_takes_no_row() -> None:
    adapted = adapt(("lora", "dora"))
    sequences = adapted.sequence_routing(ROWS)
    sequences.place(0, {"lora": 1.0})
    with pytest.raises(NotFound, match="'absent'"):
        sequences.place(0, {"absent": 1.0})
    with pytest.raises(Invalid, match="don't mix"):
        sequences.place(0, {"dora": 0.5})
    assert_each_is_alone(adapted, step(adapted, sequences), [{"lora": 1.0}, *[{}] * (ROWS - 1)])


def test_a_step_says_which_adapters_never_acted() -> None:
    adapted = AdaptedModel(nn.ModuleDict({"used": nn.Linear(4, 4), "unused": nn.Linear(4, 4)}))
    for name in ("used", "unused"):
        adapted.inject_adapter(name, parse_config({**LORA, "target_modules": [name]}))
    sequences = adapted.sequence_routing(2)
    sequences.place(0, {"used": 1.0})
    sequences.place(1, {"unused": 1.0})
    for _ in range(2):
        with torch.inference_mode(), sequences.active(2) as made:
            adapted.module.get_submodule("used")(torch.zeros(2, 1, 4))
        assert made.inactive == adapted.note_effect(made) == {"unused"}
