"""Inference by the client: arrays in and out, one adapter for all rows or one for each."""

import numpy as np
import pytest
import torch
from apps import RANDOM_LORA
from bases import mlp

from service.client import Client, Invalid, NotFound

ROWS = np.array([[1.0, 2.0, 3.0, 4.0], [-1.0, 0.5, 0.0, 2.0]], "f4")


@pytest.fixture(scope="module")
def tone(client: Client) -> str:
    return client.adapters.create("infer-tone", RANDOM_LORA, model="mlp", seed=1).name


def test_without_an_adapter_the_base_answers(client: Client) -> None:
    answer = client.infer("mlp", {"x": ROWS})
    with torch.no_grad():
        expected = mlp()(torch.from_numpy(ROWS)).numpy()
    np.testing.assert_allclose(answer.outputs["output"], expected, rtol=1e-6, atol=1e-6)
    assert (answer.model, answer.adapter, answer.digest) == ("mlp", (None, None), (None, None))


def test_each_row_has_the_adapter_that_it_names(client: Client, tone: str) -> None:
    mixed = client.infer("mlp", {"x": ROWS}, adapter=[tone, None]).outputs["output"]
    alone = client.infer("mlp", {"x": ROWS}, adapter=tone).outputs["output"]
    base = client.infer("mlp", {"x": ROWS}).outputs["output"]
    np.testing.assert_allclose(mixed[0], alone[0], atol=1e-5)
    np.testing.assert_allclose(mixed[1], base[1], atol=1e-5)
    assert not np.allclose(mixed[0], base[0])


def test_a_torch_tensor_is_an_array_too(client: Client, tone: str) -> None:
    answer = client.infer("mlp", {"x": torch.from_numpy(ROWS)}, adapter={tone: 0.5}, outputs=["output"])
    assert answer.adapter == ({f"{tone}@1": 0.5},) * 2
    assert np.asarray(answer.outputs["output"]).shape == (2, 3)


def test_a_wrong_input_is_named(client: Client) -> None:
    with pytest.raises(Invalid, match="y"):
        client.infer("mlp", {"y": ROWS})


def test_an_unknown_adapter_is_not_found(client: Client) -> None:
    with pytest.raises(NotFound, match="nobody"):
        client.infer("mlp", {"x": ROWS}, adapter="nobody")
