"""The fastest arithmetic that computes the same wins. The times are made up."""

from collections.abc import Mapping

import pytest
import torch
from bases import MLP
from torch import Tensor, nn

from models_registry.arithmetic import Form
from models_registry.injection.arithmetic import choice
from models_registry.injection.arithmetic.choice import Work, choose_arithmetic

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))


class Stage:
    """A model of bfloat16 weights, which takes as long as `seconds` says of the form that it is in."""

    def __init__(self, **seconds: float) -> None:
        self.module = MLP().eval().requires_grad_(False).to(torch.bfloat16)
        self._seconds = seconds

    @property
    def form(self) -> Form:
        if "forward" in vars(self.module.second):
            return "float16_weights"
        return "float32" if self.module.first.weight.dtype == torch.float32 else "as_stored"

    def work(self) -> Mapping[str, Tensor]:
        return {"y": self.module(X.to(self.module.first.weight.dtype))}

    def measure(self, work: Work) -> float:
        work()
        return self._seconds[self.form]


def test_the_fastest_form_is_chosen_and_its_ratios_told() -> None:
    stage = Stage(as_stored=4.0, float32=1.0, float16_weights=3.0)
    chosen = choose_arithmetic(stage.module, [stage.work], stage.measure)
    assert (chosen.form, stage.form) == ("float32", "float32")
    assert (chosen.ratios["as_stored"], chosen.ratios["float32"]) == (1.0, 0.25)
    assert chosen.bytes == sum(parameter.nbytes for parameter in stage.module.parameters())


def test_a_form_that_is_hardly_faster_is_not_worth_its_memory() -> None:
    stage = Stage(as_stored=1.0, float32=0.97, float16_weights=0.97)
    assert choose_arithmetic(stage.module, [stage.work], stage.measure).form == "as_stored"
    assert stage.form == "as_stored"


def test_a_form_that_computes_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "ALIKE", -1.0)
    stage = Stage(as_stored=4.0, float32=2.0, float16_weights=1.0)
    chosen = choose_arithmetic(stage.module, [stage.work], stage.measure)
    assert (chosen.form, stage.form) == ("float32", "float32")
    assert "float16_weights: " in chosen.reason


def test_a_form_in_which_the_model_fails_is_refused() -> None:
    stage = Stage(as_stored=4.0, float32=1.0, float16_weights=1.0)

    def work() -> Mapping[str, Tensor]:
        return {"y": stage.module(X.bfloat16())}

    chosen = choose_arithmetic(stage.module, [work], stage.measure)
    assert (chosen.form, stage.form) == ("as_stored", "as_stored")
    assert "float32: the model doesn't run so" in chosen.reason


def test_a_model_that_runs_in_no_form_stays_as_it_is() -> None:
    stage = Stage()

    def work() -> Mapping[str, Tensor]:
        raise ValueError("not on these")

    assert "not on these" in choose_arithmetic(stage.module, [work]).reason
    assert stage.form == "as_stored"


def test_without_an_example_nothing_is_measured() -> None:
    assert "example_inputs" in choose_arithmetic(MLP(), []).reason


def test_weights_of_other_dtypes_stay_as_they_are() -> None:
    module = nn.Linear(2, 2).to(torch.float64)
    assert "another dtype" in choose_arithmetic(module, [dict[str, object]]).reason
