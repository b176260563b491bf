"""Every row of a batch is answered as if it had come alone, whatever adapters its neighbours ask for."""

from collections.abc import Mapping
from typing import Any

import httpx
import pytest
import torch
from e2e.adapters import CONFIGS, ask, create, rows, same_bits, state, trained, upload
from tolerance import assert_same_in_float32
from torch import Tensor

MODEL = "minilm"
FRESH = {"rows-lora": "lora", "rows-adalora": "adalora", "rows-ia3": "ia3"}
UPLOADED = {f"{name}-trained": method for name, method in FRESH.items()}
CHOICES = [
    None,
    *FRESH,
    *UPLOADED,
    None,
    {"rows-lora-trained": 0.5, "rows-adalora-trained": -1.5},
    "rows-lora-trained@1",
]


@pytest.fixture(scope="module", autouse=True)
def injected(http: httpx.Client) -> None:
    """Of each method one adapter with fresh weights, and one uploaded with weights that act."""
    for name, method in FRESH.items():
        create(http, MODEL, name, CONFIGS[method], seed=1)
        answer = upload(http, MODEL, f"{name}-trained", CONFIGS[method], trained(state(http, name), seed=2))
        assert answer.status_code == 201, answer.text


@pytest.fixture(scope="module")
def inputs() -> Mapping[str, Tensor]:
    return rows(len(CHOICES))


@pytest.fixture(scope="module")
def mixed(http: httpx.Client, injected: None, inputs: Mapping[str, Tensor]) -> Tensor:
    """[rows, tokens, features]"""
    return ask(http, MODEL, CHOICES, inputs)["last_hidden_state"]


@pytest.mark.parametrize("row", range(len(CHOICES)), ids=str)
def test_a_row_of_a_mixed_batch_equals_its_solo_run(
    http: httpx.Client, inputs: Mapping[str, Tensor], mixed: Tensor, row: int
) -> None:
    alone = ask(http, MODEL, CHOICES[row], {name: tensor[row : row + 1] for name, tensor in inputs.items()})
    assert_same_in_float32(mixed[row], alone["last_hidden_state"][0])


def test_what_was_trained_acts_and_what_is_fresh_does_not_yet(
    http: httpx.Client, inputs: Mapping[str, Tensor], mixed: Tensor
) -> None:
    base = ask(http, MODEL, None, inputs)["last_hidden_state"]
    distance = {str(choice): float((mixed[i] - base[i]).abs().max()) for i, choice in enumerate(CHOICES)}
    idle = {str(name) for name in (None, *FRESH)}
    assert {name: far for name, far in distance.items() if name in idle and far > 1e-5} == {}
    assert {name: far for name, far in distance.items() if name not in idle and far < 1e-3} == {}


def test_every_row_says_which_version_answered_it(http: httpx.Client, inputs: Mapping[str, Tensor]) -> None:
    answer = _ask_in_json(http, CHOICES, inputs)
    digests = {adapter["name"]: adapter["digest"] for adapter in http.get("/adapters").json()["items"]}
    assert answer["adapter"][:3] == [None, "rows-lora@1", "rows-adalora@1"]
    assert answer["adapter"][-2:] == [{"rows-lora-trained@1": 0.5, "rows-adalora-trained@1": -1.5}, CHOICES[-1]]
    assert answer["digest"][:2] == [None, digests["rows-lora"]]
    assert answer["digest"][-1] == digests["rows-lora-trained"]


def test_json_and_safetensors_carry_the_same_numbers(http: httpx.Client, inputs: Mapping[str, Tensor]) -> None:
    written = _ask_in_json(http, CHOICES, inputs)["outputs"]
    read = {name: torch.tensor(t["data"]).reshape(t["shape"]) for name, t in written.items()}
    assert same_bits(read, ask(http, MODEL, CHOICES, inputs))


def test_text_rows_of_a_mixed_batch_equal_their_solo_runs(http: httpx.Client) -> None:
    texts = ["The sea.", "A somewhat longer sentence about ships.", "Salt", "Wind and weather, and nothing else."]
    choices = [None, "rows-lora-trained", "rows-adalora-trained", "rows-ia3-trained"]
    together = _embed(http, choices, texts)
    for row, (choice, text) in enumerate(zip(choices, texts, strict=True)):
        assert_same_in_float32(together[row], _embed(http, choice, [text])[0])


def _embed(http: httpx.Client, adapter: Any, texts: list[str]) -> Tensor:
    asked = {"adapter": adapter, "inputs": {"text": texts}, "outputs": ["embedding"]}
    answer = http.post(f"/models/{MODEL}/infer", json=asked)
    assert answer.status_code == 200, answer.text
    embedding = answer.json()["outputs"]["embedding"]
    return torch.tensor(embedding["data"]).reshape(embedding["shape"])


def _ask_in_json(http: httpx.Client, adapter: Any, inputs: Mapping[str, Tensor]) -> dict[str, Any]:
    nested = {name: tensor.tolist() for name, tensor in inputs.items()}
    answer = http.post(f"/models/{MODEL}/infer", json={"adapter": adapter, "inputs": nested})
    assert answer.status_code == 200, answer.text
    return answer.json()
