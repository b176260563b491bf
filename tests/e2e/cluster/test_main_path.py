"""What a caller does first, through Serve's proxy: every front and every replica answers alike."""

from typing import Final

import pytest
import torch
from e2e.cluster.clusters import Cluster
from e2e.process import until
from e2e.replicas.pair import LORA, MODEL, SOURCE, answered_by, infer, put_state, weights
from safetensors.torch import load

pytestmark = pytest.mark.deep  # a real Ray

ASKED: Final = 8
"""More often than there are fronts and replicas: each is asked sooner or later."""


def made(cluster: Cluster, name: str) -> None:
    created = cluster.http.post(f"/models/{MODEL}/adapters", json={"name": name, "config": LORA, "seed": 1})
    assert created.status_code == 201, created.text


def outputs(cluster: Cluster, adapter: str | None) -> torch.Tensor:
    answer = infer(cluster, adapter)
    assert answer.status_code == 200, answer.text
    output = answer.json()["outputs"]["output"]
    return torch.tensor(output["data"]).reshape(output["shape"])


def test_an_adapter_made_through_one_front_acts_on_every_replica(cluster: Cluster) -> None:
    base = outputs(cluster, None)

    made(cluster, "tone")

    answers = [outputs(cluster, "tone") for _ in range(ASKED)]
    assert all(torch.equal(answer, answers[0]) for answer in answers)
    assert not torch.allclose(answers[0], base)
    assert all(torch.equal(outputs(cluster, None), base) for _ in range(ASKED))


def test_a_new_version_is_what_every_front_serves_within_two_seconds(cluster: Cluster) -> None:
    made(cluster, "moved")

    assert put_state(cluster, "moved", seed=2).status_code == 201

    def every_front_serves_it() -> bool:
        return {answered_by(cluster, "moved") for _ in range(ASKED)} == {"moved@2"}

    until(every_front_serves_it)
    state = cluster.http.get("/adapters/moved/state")
    stored = load(weights(seed=2))
    assert {name: tensor.tolist() for name, tensor in load(state.content).items()} == {
        name: tensor.tolist() for name, tensor in stored.items()
    }


def test_an_adapter_that_was_unloaded_answers_again(cluster: Cluster) -> None:
    made(cluster, "left")
    before = outputs(cluster, "left")

    unloaded = cluster.http.post(f"/models/{MODEL}/adapters/left/unload")

    assert unloaded.status_code == 200, unloaded.text
    assert torch.equal(outputs(cluster, "left"), before)


def test_a_deleted_adapter_is_served_by_nobody(cluster: Cluster) -> None:
    made(cluster, "gone")
    assert answered_by(cluster, "gone") == "gone@1"

    assert cluster.http.delete("/adapters/gone").status_code == 204

    until(lambda: {answered_by(cluster, "gone") for _ in range(ASKED)} == {404})


def test_a_model_that_cannot_be_built_says_why(cluster: Cluster) -> None:
    broken = {"id": "broken", "source": {"kind": "python", "factory": "bases:mlp", "kwargs": {"no": "such"}}}

    answer = cluster.http.post("/models", params={"wait": 120}, json=broken)

    assert answer.status_code == 422
    assert "unexpected keyword argument" in answer.json()["detail"]
    assert cluster.http.get("/models/broken").status_code == 404


def test_a_model_is_unloaded_and_loaded_again(cluster: Cluster) -> None:
    cluster.register("coming", SOURCE)

    assert cluster.http.post("/models/coming/unload").json()["state"] == "unloaded"
    cluster.wait_for_model("coming", "unloaded")
    assert infer(cluster, None, model="coming").status_code == 409
    cluster.http.post("/models/coming/load")

    cluster.wait_for_model("coming")
    assert infer(cluster, None, model="coming").status_code == 200
    assert cluster.http.delete("/models/coming").status_code == 204
