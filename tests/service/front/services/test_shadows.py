"""Requests that are run again on another version: only where nothing else is asked of the model."""

import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from threading import Event
from typing import cast

import pytest
import torch
from engines import eventually

from models_registry.inputs.values import Inputs
from models_registry.records import AdapterVersion
from models_registry.registry import Registry
from service.front.hosts.hosted_model import HostedModel
from service.front.services import shadows
from service.front.services.alias_meter import AliasMeter
from service.front.services.shadows import MOST_BYTES, MOST_WAITING, Shadow, Shadows
from service.protocol.errors import HostLost
from service.protocol.types import HostAnswer, InferCall, Part, Selection

GONE = 7
"""The number of a version that was removed."""
ANSWER = HostAnswer((), {"x": torch.ones(2)}, 0.0, 0.0, 0.0)


@dataclass
class PuppetHost:
    """A model that answers when the test says so. `others` are requests of its callers."""

    others: int = 0
    asked: list[InferCall] = field(default_factory=list[InferCall])
    answers: list[Future[HostAnswer]] = field(default_factory=list[Future[HostAnswer]])
    cancelled: Event = field(default_factory=Event)

    @property
    def host(self) -> "PuppetHost":
        return self

    @property
    def in_flight(self) -> int:
        return self.others + sum(not answer.done() for answer in self.answers)

    def infer(self, call: InferCall, selections: tuple[Selection, ...]) -> tuple[int, Future[HostAnswer]]:
        self.asked.append(call)
        self.answers.append(Future())
        return len(self.answers) - 1, self.answers[-1]

    def cancel(self, id: int) -> None:
        self.cancelled.set()


class Counted(AliasMeter):
    """Without a database."""

    def __init__(self) -> None:
        super().__init__(cast(Registry, None))

    def of(self, name: str) -> int:
        return sum(count for counter, count in self._counts.items() if counter.name == name)


@pytest.fixture
def counted() -> Counted:
    return Counted()


@pytest.fixture
def runner(counted: Counted) -> Iterator[Shadows]:
    runner = Shadows(counted, lambda version: version.version != GONE)
    runner.start()
    yield runner
    runner.stop()


def shadow(host: PuppetHost, asked: float | None = None) -> Shadow:
    call = InferCall(Inputs(texts=("a",)), remaining_s=1.0)
    now = time.monotonic() if asked is None else asked
    return Shadow("tone", "prod", 2, 1, cast(HostedModel, host), call, (), ANSWER, 0.01, now)


def test_a_shadow_runs_alone_and_is_compared(runner: Shadows, counted: Counted) -> None:
    host = PuppetHost()
    runner.enqueue(shadow(host))
    eventually(lambda: bool(host.asked))
    assert (host.asked[0].alone, host.asked[0].remaining_s) == (True, None)
    host.answers[0].set_result(ANSWER)
    eventually(lambda: counted.of("equal") == 1)


def test_a_shadow_that_fails_is_counted(runner: Shadows, counted: Counted) -> None:
    host = PuppetHost()
    runner.enqueue(shadow(host))
    eventually(lambda: bool(host.answers))
    host.answers[0].set_exception(ValueError("no"))
    eventually(lambda: counted.of("failed") == 1)


def test_a_shadow_that_ended_its_host_is_not_run_again(runner: Shadows, counted: Counted) -> None:
    host = PuppetHost()
    runner.enqueue(shadow(host))
    eventually(lambda: bool(host.answers))
    host.answers[0].set_exception(HostLost("m", "SIGSEGV", (0,)))
    eventually(lambda: counted.of("failed") == 1)
    runner.enqueue(shadow(host))
    eventually(lambda: counted.of("dropped") == 1)
    assert len(host.asked) == 1


def test_a_shadow_that_was_removed_meanwhile_is_not_run(runner: Shadows, counted: Counted) -> None:
    host = PuppetHost()
    version = AdapterVersion("tone", "m", GONE, "LORA", {}, "00", 1, 1, (), {}, "00", datetime.now(UTC))
    selection = Selection((Part(version, version.key, 1.0),))
    runner.enqueue(replace(shadow(host), version=GONE, selections=(selection,)))
    eventually(lambda: counted.of("dropped") == 1)
    assert host.asked == []


def test_a_shadow_gives_way_to_a_callers_request(runner: Shadows, counted: Counted) -> None:
    host = PuppetHost()
    runner.enqueue(shadow(host))
    eventually(lambda: bool(host.asked))
    host.others = 1
    assert host.cancelled.wait(60)
    eventually(lambda: counted.of("dropped") == 1)


def test_a_shadow_waits_until_nothing_else_is_asked(
    runner: Shadows, counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadows, "PATIENCE_S", 600.0)
    busy, looked = PuppetHost(others=1), shadow(PuppetHost())
    runner.enqueue(shadow(busy))
    busy.others = 0
    eventually(lambda: bool(busy.asked))
    busy.answers[0].set_result(ANSWER)
    monkeypatch.setattr(shadows, "PATIENCE_S", 0.0)
    runner.enqueue(replace(looked, asked=time.monotonic() - 1))
    eventually(lambda: counted.of("dropped") == 1)


def test_one_too_many_or_too_large_is_dropped(counted: Counted) -> None:
    runner, host = Shadows(counted, lambda _: True), PuppetHost()
    large = replace(ANSWER, outputs={"x": torch.empty(MOST_BYTES + 1, dtype=torch.uint8)})
    runner.enqueue(replace(shadow(host), answer=large))
    assert counted.of("dropped") == 1
    for _ in range(MOST_WAITING + 1):
        runner.enqueue(shadow(host))
    assert counted.of("dropped") == 2
