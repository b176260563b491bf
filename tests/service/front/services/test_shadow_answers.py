"""Whether two answers are alike."""

import pytest
import torch

from models_registry.inputs.values import OutputValue
from service.front.services.shadow_answers import compare
from service.protocol.types import HostAnswer

ONES = torch.ones(2, 3)


def answer(**outputs: OutputValue) -> HostAnswer:
    return HostAnswer((), outputs, 0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("one", "other", "likeness"),
    [
        (answer(x=ONES), answer(x=ONES.clone()), "equal"),
        (answer(x=ONES), answer(x=ONES + 1e-6), "close"),
        (answer(x=ONES), answer(x=ONES + 1e-3), "different"),
        (answer(x=torch.tensor(0.0)), answer(x=torch.tensor(-0.0)), "close"),
        (answer(x=torch.tensor(float("nan"))), answer(x=torch.tensor(float("nan"))), "equal"),
        (answer(x=ONES), answer(x=ONES.half()), "different"),
        (answer(x=ONES), answer(x=ONES[:1]), "different"),
        (answer(x=ONES), answer(y=ONES), "different"),
        (answer(x=torch.tensor([True])), answer(x=torch.tensor([True])), "equal"),
        (answer(x=torch.tensor([1, 2])), answer(x=torch.tensor([1, 3])), "different"),
        (answer(text=("a", "b")), answer(text=("a", "b")), "equal"),
        (answer(text=("a", "b")), answer(text=("a", "c")), "different"),
        (answer(x=ONES, text=("a",)), answer(x=ONES + 1e-6, text=("a",)), "close"),
        (answer(x=ONES, text=("a",)), answer(x=ONES, text=("b",)), "different"),
        (answer(x=ONES), answer(x=("a",)), "different"),
    ],
)
def test_answers_are_equal_close_or_different(one: HostAnswer, other: HostAnswer, likeness: str) -> None:
    assert compare(one, other) == likeness
