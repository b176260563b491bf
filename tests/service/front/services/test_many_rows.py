"""Requests of many rows: bounded before anything is done with them, cut where rows are their own, else refused."""

import pytest
import torch
from engines import RANDOM_LORA, Running, Start

from models_registry.errors import Invalid, RowsNotIndependent
from models_registry.inputs.values import Inputs
from service.front.requests import InferRequest
from service.protocol.types import HostLimits

MOST_IN_A_FORWARD, MOST_IN_A_REQUEST = 4, 40


@pytest.fixture
def running(start: Start) -> Running:
    limits = HostLimits(device="cpu", max_batch_rows=MOST_IN_A_FORWARD, max_request_rows=MOST_IN_A_REQUEST)
    return start(limits)


def rows(count: int) -> torch.Tensor:
    return torch.randn(count, 4, generator=torch.Generator().manual_seed(1))


def test_a_request_of_too_many_rows_is_refused(running: Running) -> None:
    running.host()
    assert len(running.output(None, rows(MOST_IN_A_REQUEST))) == MOST_IN_A_REQUEST
    with pytest.raises(Invalid, match="has 41 rows; at most 40 are taken"):
        running.output(None, rows(MOST_IN_A_REQUEST + 1))


def test_too_many_texts_are_refused_before_they_are_read(running: Running) -> None:
    running.host()  # it takes no texts, which it would say if they were read
    with pytest.raises(Invalid, match="has 100000 rows"):
        running.answer_for(InferRequest("m", Inputs(texts=("",) * 100_000)))


def test_too_many_adapters_are_refused_before_they_are_looked_up(running: Running) -> None:
    running.host()
    with pytest.raises(Invalid, match="has 100000 rows"):
        running.output(("unknown",) * 100_000, rows(2))


def test_the_first_large_request_shows_itself_that_it_can_be_cut(running: Running) -> None:
    running.host()
    running.create("a", RANDOM_LORA)
    x = rows(10)
    together = running.output("a", x)
    alone = torch.cat([running.output("a", row[None]) for row in x])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=1e-5)


def test_rows_that_are_alike_at_the_beginning_hide_nothing(running: Running) -> None:
    running.host()
    x = torch.cat([torch.zeros(2, 4), rows(8)])
    torch.testing.assert_close(running.output(None, x)[2:], running.output(None, x[2:]), atol=1e-6, rtol=1e-5)


def test_rows_that_see_each_other_are_not_cut_but_refused(running: Running) -> None:
    running.host(factory="odd_models:odd_model", name="Pools")
    with pytest.raises(RowsNotIndependent, match="10 rows, more than the 4"):
        running.output(None, rows(10))
    assert len(running.output(None, rows(MOST_IN_A_FORWARD))) == MOST_IN_A_FORWARD


def test_a_model_without_rows_takes_a_leading_dimension_of_any_size(running: Running) -> None:
    running.host(factory="odd_models:odd_model", name="Scalar")
    assert running.output(None, rows(MOST_IN_A_REQUEST + 1)).ndim == 0
