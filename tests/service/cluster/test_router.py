"""The router by warmth in a real Serve, before replicas that only say who they are."""

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import torch
from e2e.process import until
from engines import version_of
from ray import serve
from ray.cloudpickle import register_pickle_by_value
from ray.exceptions import RayActorError

from models_registry.inputs.values import Inputs
from service.cluster.router import routing_by_warmth
from service.protocol import codec
from service.protocol.frames import joined_frame
from service.protocol.types import BASE, InferCall, Part, Selection

pytestmark = pytest.mark.deep  # a real Ray

PATIENCE = 2_000
"""So many requests may be sent until routers know what replicas reported."""


class Replicas:
    """Two of them, and what a test does to them."""

    def __init__(self) -> None:
        self._handle: Any = serve.get_deployment_handle("host", "warm")
        self.names: list[str] = sorted(self._all("name"))

    def report(self, name: str, resident: Sequence[str], load: int = 0) -> None:
        """What this replica says of itself from now on."""
        self._all("say", name, list(resident), load)

    def ask(self, adapter: str | None) -> Any:
        """Who answers is the response's `result`."""
        version = None if adapter is None else version_of(adapter)
        selection = BASE if version is None else Selection((Part(version, version.key, 1.0),))
        message = codec.infer_message(1, InferCall(Inputs({"x": torch.zeros(1, 4)})), (selection,))
        return self._handle.infer.remote("front", joined_frame(codec.encode(message), [torch.zeros(1, 4)]), ())

    def answering(self, adapter: str | None, count: int = 10) -> set[str]:
        """Who answers so many requests, one after the other."""
        return {self.ask(adapter).result() for _ in range(count)}

    def until(self, holds: Callable[[], bool]) -> None:
        assert any(holds() for _ in range(PATIENCE // 10))

    def hold(self, folder: Path) -> None:
        """Requests leave a file there, and wait until it is gone: a replica that is full takes no other call."""
        self._all("hold", str(folder))

    def end(self, name: str) -> None:
        self._all("end", name)

    def _all(self, verb: str, *arguments: Any) -> list[Any]:
        return [one for one in self._handle.broadcast(verb, *arguments).results(return_exceptions=True) if one]


class Host:
    """Says who it is, and of itself what a test had it say."""

    def __init__(self) -> None:
        self._name = serve.get_replica_context().replica_id.unique_id
        self._number = 0
        self._said: dict[str, Any] = {"resident": [], "load": 0}
        self._held: str | None = None

    def record_routing_stats(self) -> dict[str, Any]:
        self._number += 1
        return {"number": self._number, "capacity": 16, "room": 0, **self._said}

    def name(self) -> str:
        return self._name

    def say(self, name: str, resident: list[str], load: int) -> None:
        if name == self._name:
            self._said = {"resident": resident, "load": load}

    def hold(self, folder: str) -> None:
        self._held = folder

    def end(self, name: str) -> None:
        if name == self._name:
            threading.Timer(0.1, lambda: os._exit(9)).start()

    async def infer(self, front: str, content: bytes, versions: tuple[Any, ...]) -> str:
        if self._held is not None:
            (mark := Path(self._held, uuid4().hex)).touch()
            while mark.exists():
                await asyncio.sleep(0.01)
        return self._name


@pytest.fixture
def replicas(real_ray: None) -> Iterator[Replicas]:
    register_pickle_by_value(sys.modules[__name__])  # replicas can't import the tests
    deployment = serve.deployment(
        name="host",
        num_replicas=2,
        max_ongoing_requests=2,
        ray_actor_options={"num_cpus": 0},
        request_router_config=routing_by_warmth(reports_s=0.2),
    )(Host)
    serve.run(deployment.bind(), name="warm", route_prefix=None)
    yield Replicas()
    serve.delete("warm")


def test_a_version_is_asked_of_the_replica_that_has_it(replicas: Replicas) -> None:
    one, other = replicas.names
    replicas.report(one, ["tone@1"])
    replicas.report(other, ["rude@1"])
    replicas.until(lambda: replicas.answering("tone") == {one} and replicas.answering("rude") == {other})


def test_an_overloaded_replica_shares_what_it_has(replicas: Replicas) -> None:
    one, other = replicas.names
    replicas.report(one, ["tone@1"])
    replicas.report(other, ["rude@1"])
    replicas.until(lambda: replicas.answering("tone") == {one})
    replicas.report(one, ["tone@1"], load=160)
    replicas.until(lambda: other in replicas.answering("tone"))


def test_a_replica_that_refuses_is_passed_over(replicas: Replicas, tmp_path: Path) -> None:
    one, other = replicas.names
    replicas.report(one, ["tone@1"])
    replicas.report(other, ["rude@1"])
    replicas.until(lambda: replicas.answering("tone") == {one})
    replicas.hold(tmp_path)
    asked = [replicas.ask("tone") for _ in range(4)]
    until(lambda: len(list(tmp_path.iterdir())) == 4)
    for mark in tmp_path.iterdir():
        mark.unlink()
    assert {each.result() for each in asked} == {one, other}


def test_a_replica_that_has_ended_is_asked_nothing(replicas: Replicas) -> None:
    one, _ = replicas.names
    replicas.report(one, ["tone@1"])
    replicas.until(lambda: replicas.answering("tone") == {one})
    replicas.end(one)

    def asks_another() -> bool:
        try:
            return one not in replicas.answering("tone")
        except RayActorError:  # it ended under a request
            return False

    replicas.until(asks_another)
    assert one not in replicas.answering("tone", count=50)
