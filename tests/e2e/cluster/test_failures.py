"""What ends, hangs or is away in a cluster, and what its callers are told: a test for each row of
docs/operations/cluster-failures.md."""

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import httpx
import psutil
import pytest
from databases import Postgres
from e2e.cluster.clusters import Cluster
from e2e.cluster.processes import (
    CONTROLLER,
    DEPLOYER,
    FRONT,
    PROXY,
    hosts,
    parent_replica,
    processes,
    replica_of,
    wait_for_others,
)
from e2e.cluster.victims import STUCK, Folder
from e2e.process import until
from e2e.replicas.pair import LORA, MODEL, SOURCE, infer, put_state
from stores import S3Server
from word_models import save, tiny_llama, word_tokenizer

pytestmark = pytest.mark.deep  # a real Ray

MODEL_IN_USE = "watched"
MANY = 8
TWO = {"min_replicas": 2, "max_replicas": 2}
POSITIONS = 4096
NO_MACHINE_HAS = 1000
"""Cores."""


@pytest.fixture(scope="module")
def folder(cluster: Cluster) -> Iterator[Folder]:
    """Shared with a model of two replicas."""
    folder = Folder(cluster.directory / "watched")
    folder.path.mkdir()
    source = {"kind": "python", "factory": "e2e.cluster.victims:watched", "kwargs": {"folder": str(folder.path)}}
    cluster.register(MODEL_IN_USE, source, resources=TWO)
    wait_for_others(cluster, replica_of(MODEL_IN_USE), 2)
    yield folder
    folder.open()
    cluster.http.delete(f"/models/{MODEL_IN_USE}").raise_for_status()


def ask(cluster: Cluster, number: float, **headers: str) -> httpx.Response:
    """Of one row, which is no other request's."""
    asked = {"inputs": {"x": [[number, 2.0, 3.0, 4.0]]}}
    return cluster.http.post(f"/models/{MODEL_IN_USE}/infer", json=asked, headers=headers)


def kinds(answers: list[httpx.Response]) -> set[tuple[int, str]]:
    return {(answer.status_code, "" if answer.status_code == 200 else answer.json()["type"]) for answer in answers}


def begin_one_and_queue_many(
    cluster: Cluster, folder: Folder, threads: ThreadPoolExecutor
) -> tuple[int, Future[httpx.Response], list[Future[httpx.Response]]]:
    """A request that a process runs alone, and others that wait, on that replica and on the other one."""
    folder.shut()
    begun = threads.submit(ask, cluster, 1.0)
    pid = folder.wait_for_one()
    return pid, begun, [threads.submit(ask, cluster, 2.0 + number) for number in range(MANY)]


def test_a_killed_host_is_503_for_what_it_ran_alone_and_nothing_for_the_rest(cluster: Cluster, folder: Folder) -> None:
    with ThreadPoolExecutor() as threads:
        beside = [threads.submit(infer, cluster, None) for _ in range(MANY)]
        pid, begun, waiting = begin_one_and_queue_many(cluster, folder, threads)
        replica = parent_replica(cluster, MODEL_IN_USE, pid)
        os.kill(pid, signal.SIGKILL)
        answer = begun.result()
        folder.open()
        assert kinds([answer]) == {(503, "host-restarting")}
        assert "SIGKILL" in answer.json()["detail"]
        assert int(answer.headers["Retry-After"]) > 0
        assert kinds([one.result() for one in waiting]) == {(200, "")}
        assert kinds([one.result() for one in beside]) == {(200, "")}
    wait_for_others(cluster, replica_of(MODEL_IN_USE), 2, replica)
    assert ask(cluster, 1.0).status_code == 200


def test_a_killed_replica_has_its_requests_run_once_more_elsewhere(cluster: Cluster, folder: Folder) -> None:
    with ThreadPoolExecutor() as threads:
        pid, begun, waiting = begin_one_and_queue_many(cluster, folder, threads)
        replica = parent_replica(cluster, MODEL_IN_USE, pid)
        replica.kill()
        until(lambda: not psutil.pid_exists(pid))  # its host ends with it
        folder.open()
        assert kinds([one.result() for one in (begun, *waiting)]) == {(200, "")}
    wait_for_others(cluster, replica_of(MODEL_IN_USE), 2, replica)


def test_a_host_that_hangs_is_ended_and_its_neighbours_answer(cluster: Cluster, folder: Folder) -> None:
    folder.shut()
    folder.open()
    with ThreadPoolExecutor() as threads:
        stuck = threads.submit(ask, cluster, STUCK)
        pid = folder.wait_for_one()
        late = threads.submit(ask, cluster, 3.0, **{"X-Request-Timeout": "0.5"})
        assert {infer(cluster, None).status_code for _ in range(MANY)} == {200}
        assert late.result().status_code in {200, 504}  # on the other replica, or in the queue behind
        answer = stuck.result()
    assert kinds([answer]) == {(503, "host-restarting")}
    assert "ADAPTER_SERVICE_FORWARD_TIMEOUT" in answer.json()["detail"]
    until(lambda: not psutil.pid_exists(pid))
    assert ask(cluster, 1.0).status_code == 200
    wait_for_others(cluster, replica_of(MODEL_IN_USE), 2)


def test_a_replica_that_hangs_is_replaced_and_its_requests_run_elsewhere(cluster: Cluster, folder: Folder) -> None:
    with ThreadPoolExecutor() as threads:
        pid, begun, waiting = begin_one_and_queue_many(cluster, folder, threads)
        replica = parent_replica(cluster, MODEL_IN_USE, pid)
        replica.suspend()
        folder.open()
        assert kinds([one.result() for one in (begun, *waiting)]) == {(200, "")}
    wait_for_others(cluster, replica_of(MODEL_IN_USE), 2, replica)


def test_a_model_without_a_replica_is_restarting_until_one_is_there(cluster: Cluster) -> None:
    name = "alone"
    cluster.register(name, SOURCE)
    assert cluster.http.patch(f"/models/{name}", json={"resources": {"cpus": NO_MACHINE_HAS}}).status_code == 200

    def is_gone() -> bool:
        for replica in processes(cluster, replica_of(name)):  # also what is started before the change is read
            replica.kill()
        return cluster.http.get(f"/models/{name}").json()["state"] == "restarting"

    with ThreadPoolExecutor() as threads:
        waiting = [threads.submit(infer, cluster, None, name) for _ in range(MANY)]
        until(is_gone)
        cluster.wait_for_model(name, "restarting")
        assert cluster.http.get(f"/models/{name}").json()["replicas"] == []
        answer = infer(cluster, None, name)
        assert kinds([answer]) == {(503, "host-restarting")}
        assert int(answer.headers["Retry-After"]) > 0
        assert cluster.http.get("/health/ready").status_code == 200
        cluster.http.patch(f"/models/{name}", json={"resources": {"cpus": 1}}).raise_for_status()
        cluster.wait_for_model(name)
        assert infer(cluster, None, name).status_code == 200
        # None waits for ever; how long a replica takes to come is the machine's matter.
        assert kinds([one.result() for one in waiting]) <= {(200, ""), (503, "host-restarting")}
    assert cluster.http.delete(f"/models/{name}").status_code == 204


def test_a_text_whose_replica_ends_is_told_so_at_its_end(cluster: Cluster) -> None:
    tokenizer = word_tokenizer()
    tokenizer.model_max_length = POSITIONS
    save(tiny_llama(positions=POSITIONS), tokenizer, cluster.own_root / "writer")
    cluster.register("writer", {"kind": "huggingface", "path": "writer"}, resources=TWO)
    wait_for_others(cluster, replica_of("writer"), 2)
    length = {"max_new_tokens": POSITIONS - 8, "min_new_tokens": POSITIONS - 8}
    asked = {"inputs": {"text": ["a b"]}, "parameters": length, "stream": True}
    with cluster.http.stream("POST", "/models/writer/infer", json=asked) as answer:
        lines = answer.iter_lines()
        assert "event: token" in next(lines)
        for host in hosts(cluster, "writer"):
            host.kill()
        rest = [line for line in lines if line and not line.startswith(":")]
    assert [line for line in rest if line.startswith("event:")][-1] == "event: error"
    assert json.loads(rest[-1].removeprefix("data: "))["type"] == "host-restarting"
    assert not {"event: row", "event: end"} & set(rest)
    assert cluster.http.delete("/models/writer").status_code == 204


def test_a_killed_front_loses_what_it_was_answering_and_nothing_acknowledged(cluster: Cluster, folder: Folder) -> None:
    created = cluster.http.post(f"/models/{MODEL}/adapters", json={"name": "kept", "config": LORA, "seed": 1})
    assert created.status_code == 201
    with ThreadPoolExecutor(MANY) as threads:
        folder.shut()
        asked = [threads.submit(ask, cluster, float(number)) for number in range(MANY)]
        folder.wait_for_one()
        killed = processes(cluster, FRONT)[0]
        killed.kill()
        folder.open()
        told = kinds([one.result() for one in asked])
    assert told <= {(200, ""), (503, "unavailable")}
    assert {infer(cluster, "kept").status_code for _ in range(MANY)} == {200}
    wait_for_others(cluster, FRONT, 2, killed)
    assert {infer(cluster, "kept").status_code for _ in range(MANY)} == {200}


@pytest.mark.parametrize("title", [DEPLOYER, CONTROLLER])
def test_what_follows_the_registry_may_end_and_is_missed_by_no_caller(cluster: Cluster, title: str) -> None:
    (killed,) = processes(cluster, title)
    killed.kill()
    assert {infer(cluster, None).status_code for _ in range(MANY)} == {200}
    name = f"after-{title.rpartition(':')[2].lower()}"
    cluster.register(name, SOURCE)
    assert infer(cluster, None, model=name).status_code == 200
    assert cluster.http.delete(f"/models/{name}").status_code == 204
    wait_for_others(cluster, title, 1, killed)


def test_a_killed_proxy_is_back_by_itself(cluster: Cluster) -> None:
    (killed,) = processes(cluster, PROXY)
    killed.kill()

    def answers() -> bool:
        try:
            return infer(cluster, None).status_code == 200
        except httpx.TransportError:
            return False

    until(answers)


def test_without_the_database_what_is_in_memory_is_answered(cluster: Cluster, postgres: Postgres) -> None:
    created = cluster.http.post(f"/models/{MODEL}/adapters", json={"name": "resident", "config": LORA, "seed": 1})
    assert created.status_code == 201
    until(lambda: {infer(cluster, "resident").status_code for _ in range(MANY)} == {200})
    with postgres.away(cluster.environment["ADAPTER_SERVICE_DATABASE_URL"]):
        assert {infer(cluster, "resident").status_code for _ in range(MANY)} == {200}
        refused = put_state(cluster, "resident", seed=2)
        assert refused.status_code == 503
        assert int(refused.headers["Retry-After"]) > 0
    until(lambda: put_state(cluster, "resident", seed=2).status_code == 201)
    until(lambda: {infer(cluster, "resident").json()["adapter"][0] for _ in range(MANY)} == {"resident@2"})


def test_without_the_bucket_what_is_in_memory_is_answered(cluster: Cluster, s3_server: S3Server) -> None:
    for name in ("warm", "cold"):
        body = {"name": name, "config": LORA, "seed": 1}
        assert cluster.http.post(f"/models/{MODEL}/adapters", json=body).status_code == 201
    assert cluster.http.post(f"/models/{MODEL}/adapters/warm/load").status_code == 200
    cluster.http.post(f"/models/{MODEL}/adapters/cold/unload").raise_for_status()
    with s3_server.away():
        assert {infer(cluster, "warm").status_code for _ in range(MANY)} == {200}
        answer = infer(cluster, "cold")
        assert kinds([answer]) == {(503, "unavailable")}
        assert put_state(cluster, "warm", seed=2).status_code == 503
    until(lambda: infer(cluster, "cold").status_code == 200)
