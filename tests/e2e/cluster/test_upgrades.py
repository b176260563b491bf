"""All processes are replaced while callers go on: none of them notices."""

import threading
from collections import Counter
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest
from e2e.cluster.clusters import Cluster
from e2e.cluster.processes import DEPLOYER, FRONT, processes, ray_address, replica_of, wait_for_others
from e2e.process import until
from e2e.replicas.pair import LORA, MODEL, infer

pytestmark = pytest.mark.deep  # a real Ray

CALLERS = 2


@contextmanager
def callers(cluster: Cluster, adapter: str | None) -> Generator[Counter[str]]:
    """How often they were answered by which version, or with which error."""
    answered, stopped = Counter[str](), threading.Event()

    def call() -> None:
        while not stopped.is_set():
            try:
                answer = infer(cluster, adapter)
                answered[str(answer.json()["adapter"][0]) if answer.status_code == 200 else answer.text] += 1
            except httpx.TransportError as error:
                answered[repr(error)] += 1

    with ThreadPoolExecutor(CALLERS) as threads:
        calling = [threads.submit(call) for _ in range(CALLERS)]
        try:
            yield answered
        finally:
            stopped.set()
        for one in calling:
            one.result()


def test_new_code_is_rolled_out_without_a_failed_request(cluster: Cluster) -> None:
    body = {"name": "rolled", "config": LORA, "seed": 1}
    assert cluster.http.post(f"/models/{MODEL}/adapters", json=body).status_code == 201
    titles = {FRONT: 2, DEPLOYER: 1, replica_of(MODEL): 2}
    before = {title: set(processes(cluster, title)) for title in titles}
    with callers(cluster, "rolled") as answered, callers(cluster, None) as beside:
        roll = f"adapterctl cluster roll --address {ray_address(cluster.pid)} --fronts 2 --replicas 2"
        cluster.run(roll, variables={"RAY_AUTH_MODE": "token"})
    for title, count in titles.items():
        now = set(processes(cluster, title))
        assert len(now) == count
        assert not now & before[title], f"some of {title} are still the old ones"
    assert (set(answered), set(beside)) == ({"rolled@1"}, {"None"}), (answered, beside)


def test_a_deployer_that_ends_after_that_replaces_nothing(cluster: Cluster) -> None:
    def names() -> set[str]:
        return {replica["name"] for replica in cluster.http.get(f"/models/{MODEL}").json()["replicas"]}

    until(lambda: len(names()) == 2)
    before = names()
    (killed,) = processes(cluster, DEPLOYER)
    killed.kill()
    wait_for_others(cluster, DEPLOYER, 1, killed)
    for replicas in (3, 2):  # what it does for a change that it reads
        resources = {"min_replicas": replicas, "max_replicas": replicas}
        cluster.http.patch(f"/models/{MODEL}", json={"resources": resources}).raise_for_status()
        until(lambda n=replicas: len(names()) == n)
        if replicas == 3:
            assert before < names()
