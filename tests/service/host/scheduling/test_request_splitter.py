"""A request that is cut into parts is one request to its caller, however its parts end."""

import gc
import weakref
from concurrent.futures import CancelledError, Future

import pytest
import torch
from engines import RANDOM_LORA, ROWS, Start

from models_registry.base_models.spec import Rows
from models_registry.errors import Damaged, Invalid
from models_registry.inputs.values import Inputs
from service.host.scheduling.job import BatchKey, Job
from service.host.scheduling.request_splitter import cut
from service.protocol.types import BASE, HostAnswer, HostLimits, InferCall, Used

X = torch.ones(6, 4)


def parts() -> tuple[Job, ...]:
    """Three of two rows each, of one request."""
    whole = Job(
        InferCall(Inputs({"x": X})),
        (BASE,),
        Rows({"x": X}, len(X)),
        Future(),
        0.0,
        BatchKey("rows"),
        divisible=True,
    )
    return cut(whole, 2)


def answer(width: int = 3) -> HostAnswer:
    used = (Used(2, prompt_tokens=6, forward_s=0.5),)
    return HostAnswer((BASE,) * 2, {"output": torch.zeros(2, width)}, 0.0, 0.0, 0.0, used=used)


def whole_of(parts: tuple[Job, ...]) -> Future[HostAnswer]:
    assert parts[0].whole is not None
    return parts[0].whole


def test_when_a_part_fails_before_any_has_begun_none_begins() -> None:
    first, second, third = parts()
    first.future.set_exception(Damaged("0" * 64))  # its adapter didn't come, while others were chosen to run
    assert not second.begin()
    assert not third.begin()
    assert isinstance(whole_of((first,)).exception(0), Damaged)


def test_no_further_part_begins_once_the_caller_has_left() -> None:
    first, second, third = parts()
    assert first.begin()
    first.left.set()
    first.future.set_result(answer())
    assert not second.begin()
    assert not third.begin()
    assert isinstance(whole_of((first,)).exception(0), CancelledError)


def test_parts_that_cant_be_joined_are_an_error_to_the_caller() -> None:
    all_parts = parts()
    for part, width in zip(all_parts, (3, 3, 4), strict=True):
        assert part.begin()
        part.future.set_result(answer(width))
    with pytest.raises(Invalid, match="can't be joined") as raised:
        whole_of(all_parts).result(0)
    assert raised.value.faults[0].loc == ("outputs", "output")


def test_what_the_parts_used_is_used_once_by_the_whole() -> None:
    all_parts = parts()
    for part in all_parts:
        assert part.begin()
        part.future.set_result(answer())
    assert whole_of(all_parts).result(0).used == (Used(6, prompt_tokens=18, forward_s=1.5),)


@pytest.mark.parametrize("max_rows", [64, 2], ids=["whole", "in parts"])
def test_nothing_keeps_an_answer_that_its_caller_has_let_go(start: Start, max_rows: int) -> None:
    running = start(HostLimits(device="cpu", max_batch_rows=max_rows))
    running.host()
    running.create("a", RANDOM_LORA)
    running.answer("a")
    gc.collect()
    gc.disable()  # what goes only with a collection may stay for minutes
    try:
        output = weakref.ref(running.output("a", ROWS))
        running.answer("a", ROWS[:1])  # the model's thread has gone on
        assert output() is None
    finally:
        gc.enable()
