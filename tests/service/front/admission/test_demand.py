"""What a request is charged before its host has read it."""

from typing import Any

import pytest
import torch

from models_registry.inputs.values import Inputs
from service.front.admission.demand import MOST_TOKENS, Demand, demand_of
from service.front.requests import InferRequest

IDS = torch.tensor([[5, 6, 7], [8, 9, 0]])
WITH_IMAGE = ({"role": "user", "content": [{"type": "text", "text": "1234"}, {"type": "image", "image": "x" * 4000}]},)
MASK = torch.tensor([[1, 1, 1], [1, 1, 0]])


@pytest.mark.parametrize(
    ("inputs", "parameters", "demand"),
    [
        (Inputs({"x": torch.zeros(3, 4)}), None, Demand(3)),
        (Inputs({"x": torch.zeros(())}), None, Demand(1)),
        (Inputs({"input_ids": IDS}), None, Demand(2, tokens=6)),
        (Inputs({"input_ids": IDS, "attention_mask": MASK}), None, Demand(2, tokens=5)),
        (Inputs(texts=("12345678", "é")), None, Demand(2, tokens=3)),
        (Inputs(tokens=((5, 6, 7), (8,))), {"max_new_tokens": 10}, Demand(2, 2, 24)),
        (Inputs(chats=(WITH_IMAGE,)), {"max_new_tokens": 1}, Demand(1, 1, 2)),
        (Inputs(texts=("1234",)), {"max_new_tokens": 10**4299}, Demand(1, 1, 1 + MOST_TOKENS)),
        (Inputs(texts=("1234", "5678")), {"max_new_tokens": 10}, Demand(2, 2, 22)),
        (Inputs(texts=("1234",)), {"max_tokens": 10}, Demand(1, 1, 11)),
        (Inputs(texts=("1234",)), {}, Demand(1, 1, 65)),
        (Inputs(texts=("1234",)), {"max_new_tokens": "many"}, Demand(1, 1, 65)),
        (Inputs(chats=(({"role": "user", "content": "12345"},),)), {"max_new_tokens": 1}, Demand(1, 1, 3)),
        (Inputs(texts=("\ud800",)), None, Demand(1, tokens=1)),
    ],
)
def test_rows_texts_and_tokens_are_counted(inputs: Inputs, parameters: Any, demand: Demand) -> None:
    assert demand_of(InferRequest("m", inputs, parameters=parameters)) == demand


def test_a_list_of_adapters_says_how_many_rows_there_are() -> None:
    assert demand_of(InferRequest("m", Inputs({"x": torch.zeros(())}), ("a", None, "b"))).rows == 3
