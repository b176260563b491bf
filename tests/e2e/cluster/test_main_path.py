"""What a caller does first, through Serve's proxy: every front and every replica answers alike."""

from collections.abc import Mapping
from typing import Final

import torch
from e2e.cluster.clusters import Cluster
from e2e.process import until
from e2e.replicas.pair import LORA, MODEL, SOURCE, answered_by, infer, put_state, weights
from safetensors.torch import load

GENERATION: Final = "X-Registry-Generation"
NOTHING: Final[Mapping[str, str]] = {}
ASKED: Final = 8
"""More often than there are fronts and replicas: each is asked sooner or later."""


def made(cluster: Cluster, name: str) -> dict[str, str]:
    """With this header no front answers from before the adapter was made."""
    created = cluster.http.post(f"/models/{MODEL}/adapters", json={"name": name, "config": LORA, "seed": 1})
    assert created.status_code == 201, created.text
    return {GENERATION: created.headers[GENERATION]}


def outputs(cluster: Cluster, adapter: str | None, headers: Mapping[str, str] = NOTHING) -> torch.Tensor:
    answer = infer(cluster, adapter, **headers)
    assert answer.status_code == 200, answer.text
    output = answer.json()["outputs"]["output"]
    return torch.tensor(output["data"]).reshape(output["shape"])


def test_an_adapter_made_through_one_front_acts_on_every_replica(cluster: Cluster) -> None:
    base = outputs(cluster, None)

    seen = made(cluster, "tone")

    answers = [outputs(cluster, "tone", seen) for _ in range(ASKED)]
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
    seen = made(cluster, "left")
    before = outputs(cluster, "left", seen)

    unloaded = cluster.http.post(f"/models/{MODEL}/adapters/left/unload", headers=seen)

    assert unloaded.status_code == 200, unloaded.text
    assert torch.equal(outputs(cluster, "left", seen), before)


def test_a_deleted_adapter_is_served_by_nobody(cluster: Cluster) -> None:
    seen = made(cluster, "gone")
    assert answered_by(cluster, "gone", **seen) == "gone@1"

    assert cluster.http.delete("/adapters/gone", headers=seen).status_code == 204

    until(lambda: {answered_by(cluster, "gone") for _ in range(ASKED)} == {404})


def test_a_model_that_cannot_be_built_says_why(cluster: Cluster) -> None:
    broken = {"id": "broken", "source": {"kind": "python", "factory": "bases:mlp", "kwargs": {"no": "such"}}}

    answer = cluster.http.post("/models", params={"wait": 60}, json=broken)

    assert answer.status_code == 422
    assert "unexpected keyword argument" in answer.json()["detail"]
    assert cluster.http.get("/models/broken").status_code == 404


def test_a_model_is_unloaded_and_loaded_again(cluster: Cluster) -> None:
    cluster.register("coming", SOURCE)

    assert cluster.http.post("/models/coming/unload").json()["state"] == "unloaded"
    until(lambda: {infer(cluster, None, model="coming").status_code for _ in range(ASKED)} == {409})
    assert cluster.http.post("/models/coming/load", params={"wait": 60}).json()["state"] == "ready"

    until(lambda: {infer(cluster, None, model="coming").status_code for _ in range(ASKED)} == {200})
    assert cluster.http.delete("/models/coming").status_code == 204
