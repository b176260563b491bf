"""The replicas of a model: as many as its resources say, and pinned adapters on as many of them as were asked for."""

import os
import re
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from e2e.cluster.clusters import Cluster
from e2e.process import until
from e2e.replicas.pair import LORA, MODEL, SOURCE, infer

from service.host.device import a_quarter_of_memory

pytestmark = pytest.mark.deep  # a real Ray

BATCH, BUSY = 64, 8
"""Rows of a forward, and requests with so many that wait for each other."""


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


def test_there_are_more_replicas_while_work_waits_and_then_fewer(cluster: Cluster) -> None:
    source = {"kind": "python", "factory": "e2e.cluster.victims:slow"}
    cluster.register("scaled", source, resources={"min_replicas": 1, "max_replicas": 2})
    enough = threading.Event()
    batch = {"inputs": {"x": [[1.0, 2.0, 3.0, 4.0]] * BATCH}}

    def ask() -> set[int]:
        statuses = set[int]()
        while not enough.is_set():
            statuses.add(cluster.http.post("/models/scaled/infer", json=batch).status_code)
        return statuses

    with ThreadPoolExecutor(BUSY) as threads:
        asking = [threads.submit(ask) for _ in range(BUSY)]
        try:
            until(lambda: len(replicas(cluster, "scaled")) == 2)
        finally:
            enough.set()
        assert {status for one in asking for status in one.result()} == {200}
    until(lambda: len(replicas(cluster, "scaled")) == 1)
    assert infer(cluster, None, model="scaled").status_code == 200
    assert cluster.http.delete("/models/scaled").status_code == 204


def test_replicas_on_one_machine_share_its_memory(cluster: Cluster) -> None:
    def each_may_take() -> float:
        said = cluster.http.get("/metrics").text
        (limit,) = re.findall(rf'^adapter_service_adapter_limit_bytes{{model="{MODEL}"}} (\S+)$', said, re.MULTILINE)
        return float(limit) / len(replicas(cluster))

    for_all = a_quarter_of_memory(torch.device("cpu"))
    until(lambda: each_may_take() == for_all // 3)  # two of this model, one of the other
    cluster.register("sharing", SOURCE)
    until(lambda: each_may_take() == for_all // 4)
    assert cluster.http.delete("/models/sharing").status_code == 204
    until(lambda: each_may_take() == for_all // 3)


def test_resources_change_how_many_replicas_there_are(cluster: Cluster) -> None:
    cluster.register("growing", SOURCE)
    (first,) = replicas(cluster, "growing")

    more = {"resources": {"min_replicas": 2, "max_replicas": 2}}
    assert cluster.http.patch("/models/growing", json=more).status_code == 200

    until(lambda: len(replicas(cluster, "growing")) == 2)
    assert first["name"] in {replica["name"] for replica in replicas(cluster, "growing")}
    assert cluster.http.delete("/models/growing").status_code == 204
    assert 'replica_waiting_requests{model="mlp"' in cluster.http.get("/metrics").text
