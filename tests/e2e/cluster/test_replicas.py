"""The replicas of a model: as many as its resources say, and pinned adapters on as many of them as were asked for."""

import os
import signal
from typing import Any

import pytest
from e2e.cluster.clusters import Cluster
from e2e.process import until
from e2e.replicas.pair import LORA, MODEL, SOURCE, infer

pytestmark = pytest.mark.deep  # a real Ray


def replicas(cluster: Cluster, model: str = MODEL) -> list[dict[str, Any]]:
    return cluster.http.get(f"/models/{model}").json()["replicas"]


def pinned(cluster: Cluster) -> int:
    return sum(replica["pinned"] for replica in replicas(cluster))


def pin(cluster: Cluster, name: str, **params: Any) -> None:
    made = cluster.http.post(f"/models/{MODEL}/adapters", json={"name": name, "config": LORA, "seed": 1})
    assert made.status_code == 201, made.text
    loaded = cluster.http.post(f"/models/{MODEL}/adapters/{name}/load", params={"pin": "true", **params})
    assert loaded.status_code == 200, loaded.text


def test_a_pin_counts_on_as_many_replicas_as_it_names(cluster: Cluster) -> None:
    until(lambda: len(replicas(cluster)) == 2)
    pin(cluster, "everywhere")
    assert pinned(cluster) == 2
    pin(cluster, "once", replicas=1)
    assert pinned(cluster) == 3
    for name in ("everywhere", "once"):
        assert cluster.http.post(f"/models/{MODEL}/adapters/{name}/unload").status_code == 200
    assert pinned(cluster) == 0


def test_a_pin_is_kept_when_its_replica_ends(cluster: Cluster) -> None:
    until(lambda: len(replicas(cluster)) == 2)
    pin(cluster, "pinned-once", replicas=1)
    (holder,) = [replica for replica in replicas(cluster) if replica["pinned"]]

    os.kill(holder["pid"], signal.SIGKILL)

    assert {infer(cluster, "pinned-once").status_code for _ in range(8)} == {200}
    until(lambda: holder["name"] not in {replica["name"] for replica in replicas(cluster)} and pinned(cluster) == 1)
    until(lambda: len(replicas(cluster)) == 2)
    assert pinned(cluster) == 1
    assert cluster.http.post(f"/models/{MODEL}/adapters/pinned-once/unload").status_code == 200


def test_resources_change_how_many_replicas_there_are(cluster: Cluster) -> None:
    cluster.register("growing", SOURCE)
    (first,) = replicas(cluster, "growing")

    more = {"resources": {"min_replicas": 2, "max_replicas": 2}}
    assert cluster.http.patch("/models/growing", json=more).status_code == 200

    until(lambda: len(replicas(cluster, "growing")) == 2)
    assert first["name"] in {replica["name"] for replica in replicas(cluster, "growing")}
    assert cluster.http.delete("/models/growing").status_code == 204
    assert 'replica_waiting_requests{model="mlp"' in cluster.http.get("/metrics").text
