"""How many replicas there should be, without a Ray: the policy is given what Serve gives it."""

from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from service.cluster.autoscaling import WORK, ByWaitingWork, waiting_work
from service.protocol.stats import AdapterStats, HostStats, QueueStats, SizeStats, TextStats

SIZES = SizeStats((0,), 0)


@dataclass(frozen=True)
class Context:
    """The part of Serve's that is read."""

    target_num_replicas: int
    aggregated_metrics: Mapping[str, Mapping[str, float]] | None


def context(work: dict[str, float] | None, target: int = 2) -> Context:
    return Context(target, None if work is None else {WORK: work})


def stats(*, requests: int, rows: int, texts: int) -> HostStats:
    adapters = AdapterStats(0, 0, 0, 0, 0, 0, 0, 0, 0)
    return HostStats(QueueStats(requests, rows, 0), adapters, 0, 0, SIZES, SIZES, TextStats(running=texts))


@pytest.mark.parametrize(
    ("work", "replicas"), [({"a": 0.0}, 0), ({"a": 64.0}, 1), ({"a": 65.0}, 2), ({"a": 200.0, "b": 56.0}, 4)]
)
def test_each_replica_gets_as_much_work_as_one_batch(work: dict[str, float], replicas: int) -> None:
    assert ByWaitingWork(64)(context(work))[0] == replicas


def test_nothing_changes_before_a_replica_has_reported() -> None:
    assert ByWaitingWork(64)(context(None, target=3))[0] == 3


def test_rows_that_wait_and_texts_that_are_written_are_work() -> None:
    assert waiting_work(stats(requests=2, rows=40, texts=3)) == 43
    assert waiting_work(stats(requests=5, rows=0, texts=0)) == 5
