"""What the model's thread makes of the jobs that wait when it becomes free. They are queued before it starts."""

import logging
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import gated
import pytest
import torch
from engines import IA3, RANDOM_LORA, TIMEOUT_S, tensor, version_of
from gated import Choosy, Gate
from tolerance import assert_same_in_float32
from torch import Tensor

from models_registry.adapters.catalog import parse_config
from models_registry.adapters.checkpoint import fresh_checkpoint
from models_registry.architecture import describe
from models_registry.base_models.opening import open_spec
from models_registry.base_models.sources import SourcePolicy
from models_registry.base_models.spec import BaseModelSpec, Rows
from models_registry.errors import Conflict, DeadlinePassed, Invalid, Unavailable
from models_registry.injection.adapted_model import AdaptedModel
from models_registry.inputs.values import Inputs
from models_registry.records import PythonSource
from service.host.adapters.adapter_cache import AdapterCache
from service.host.adapters.loader import AdapterLoader
from service.host.scheduling.batch_policy import BatchPolicy
from service.host.scheduling.batcher import Batcher
from service.host.scheduling.job import Job
from service.host.worker import Worker
from service.protocol.types import BASE, HostAnswer, InferCall, Part, Selection

MAX_ROWS = 8
X = torch.rand(40, 4, generator=torch.Generator().manual_seed(2))


class Workplace:
    """A worker that hasn't started, with adapters `a`, `b` and `ia3` at hand."""

    def __init__(self, room: int = 64, learned: bool = True) -> None:
        self.module = Choosy(Gate("of nobody"), room)
        self.spec: BaseModelSpec = open_spec(
            PythonSource("gated:mlp", {"gate": "unused"}), None, SourcePolicy((), ("gated:*",))
        )
        self.adapted = AdaptedModel(self.module.eval().requires_grad_(False), describe(self.module))
        self._stagers = ThreadPoolExecutor(1)
        self.batcher = Batcher(100, MAX_ROWS)
        self.adapters = AdapterCache(
            self.adapted,
            AdapterLoader(self.adapted, lambda _: b""),
            self._stagers,
            10**6,
            self.batcher.wake,
            self.batcher.fail,
        )
        configs: Mapping[str, Mapping[str, object]] = {"a": RANDOM_LORA, "b": RANDOM_LORA, "ia3": IA3}
        for seed, (name, config) in enumerate(configs.items()):
            checkpoint = fresh_checkpoint(parse_config(config), self.adapted.architecture, seed)
            self.adapters.place(version_of(name), self.adapted.prepare_adapter(checkpoint))
        self.policy = BatchPolicy(self.spec, self.adapted)
        if learned:
            self.policy.learn(Rows({"x": X[:3]}, 3))
        self.module.seen.clear()
        self.worker = Worker("m", self.adapted, self.adapters, self.policy, self.batcher)

    def ask(self, x: Tensor, *adapters: str | None, deadline: float | None = None) -> Future[HostAnswer]:
        selections = tuple(map(selection, adapters)) or (BASE,)
        request = InferCall(Inputs({"x": x}))
        rows = Rows({"x": x}, len(x))
        kind, divisible = self.policy.batch_key(request, selections, rows), self.policy.divides(request, rows)
        job = Job(request, selections, rows, Future(), time.monotonic(), kind, divisible=divisible, deadline=deadline)
        self.adapters.acquire(job.versions)
        self.batcher.admit(job.future)
        self.batcher.put(job)
        return job.future

    def alone(self, x: Tensor, *adapters: str | None) -> Tensor:
        """What nobody's company could change."""
        with torch.inference_mode(), self.adapted.routed([selection(adapter).composition for adapter in adapters]):
            return self.module(x)

    def finish(self) -> list[int]:
        """Run what waits; how many rows each forward had."""
        self.worker.start()
        self.batcher.close(Conflict("the test is over"))
        assert self.worker.join(TIMEOUT_S)
        self._stagers.shutdown()
        seen, self.module.seen = self.module.seen, []
        return seen


def selection(adapter: str | None) -> Selection:
    return BASE if adapter is None else Selection((Part(version_of(adapter), version_of(adapter).key, 1.0),))


def output(asked: Future[HostAnswer]) -> Tensor:
    return tensor(asked.result(0).outputs["output"])


def test_jobs_that_wait_together_run_together_and_each_gets_its_own() -> None:
    place = Workplace()
    asked = {
        ("a",): place.ask(X[:1], "a"),
        ("b", None, "ia3"): place.ask(X[1:4], "b", None, "ia3"),
        (None, None): place.ask(X[4:6]),
        ("ia3",): place.ask(X[6:7], "ia3"),
    }
    assert place.finish() == [7]
    start = 0
    for adapters, one in asked.items():
        x = X[start : start + len(adapters)]
        assert_same_in_float32(output(one), place.alone(x, *adapters))
        assert one.result(0).selections == tuple(map(selection, adapters))
        start += len(adapters)


def test_each_adapter_is_one_segment_however_the_rows_came(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Workplace()
    compositions: list[list[str]] = []
    routed = place.adapted.routed
    monkeypatch.setattr(
        place.adapted,
        "routed",
        lambda rows: (
            compositions.append([name.partition("@")[0] for row in rows for name in row or ("base",)]),
            routed(rows),
        )[1],
    )
    mixed, single = place.ask(X[:4], "a", None, "a", "b"), place.ask(X[4:5], "a")
    place.finish()
    assert compositions == [["a", "a", "a", "base", "b"]]
    monkeypatch.undo()
    assert_same_in_float32(output(mixed), place.alone(X[:4], "a", None, "a", "b"))
    assert_same_in_float32(output(single), place.alone(X[4:5], "a"))


def test_a_forward_has_no_more_rows_than_it_may_though_one_caller_sent_them() -> None:
    place = Workplace()
    large = place.ask(X[:20], *["ia3", "a", None, "b"] * 5)
    others = [place.ask(X[:3]), place.ask(X[:4], "a"), place.ask(X[:3], "b")]
    assert place.finish() == [8, 7, 3 + 4, 8]
    assert_same_in_float32(output(large), place.alone(X[:20], *["ia3", "a", None, "b"] * 5))
    assert large.result(0).selections == tuple(map(selection, ("ia3", "a", None, "b"))) * 5
    assert [len(output(one)) for one in others] == [3, 4, 3]


def test_a_large_request_that_fails_in_part_fails_alone_and_runs_no_further() -> None:
    place = Workplace()
    x = torch.cat([X[:8], -X[:8], X[:16]])
    large, good = place.ask(x, "a"), place.ask(X[:1], "b")
    seen = place.finish()
    with pytest.raises(Invalid, match="nothing below zero"):
        large.result(0)
    assert output(good).shape == (1, 3)
    assert seen.count(8) == 2


def test_who_leaves_takes_all_parts_of_his_request_with_him() -> None:
    place = Workplace()
    large, good = place.ask(X[:20], "a"), place.ask(X[:1], "b")
    large.cancel()
    assert place.finish() == [1]
    assert output(good).shape == (1, 3)


def test_rows_that_may_belong_together_are_not_cut() -> None:
    place = Workplace(learned=False)
    place.ask(X[:20])
    assert place.finish()[0] == 20


def test_one_that_fails_fails_alone() -> None:
    place = Workplace()
    good = [place.ask(X[n : n + 1], "a") for n in range(3)]
    bad = place.ask(-X[:1], "b")
    good += [place.ask(X[n : n + 1]) for n in range(3, 5)]
    place.finish()
    with pytest.raises(Invalid, match="nothing below zero"):
        bad.result(0)
    for n, one in enumerate(good):
        assert_same_in_float32(output(one), place.alone(X[n : n + 1], "a" if n < 3 else None))


def test_a_failed_load_fails_its_own_requests_alone() -> None:
    place = Workplace()
    bad, good = place.ask(X[:1], "missing"), place.ask(X[:1], "a")
    place.finish()
    assert bad.exception(0) is not None
    assert_same_in_float32(output(good), place.alone(X[:1], "a"))


def test_cancelled_and_late_requests_never_run() -> None:
    place = Workplace()
    left, late, stays = place.ask(X[:1]), place.ask(X[:1], deadline=time.monotonic() - 1), place.ask(X[:1], "a")
    left.cancel()
    assert place.finish() == [1]
    with pytest.raises(DeadlinePassed):
        late.result(0)
    assert output(stays).shape == (1, 3)


def test_a_forward_that_finds_no_memory_is_tried_again_at_half_the_rows() -> None:
    place = Workplace(room=4)
    asked = [place.ask(X[n : n + 1], "ab"[n % 2]) for n in range(8)]
    assert place.finish() == [8, 4, 4]
    for n, one in enumerate(asked):
        assert_same_in_float32(output(one), place.alone(X[n : n + 1], "ab"[n % 2]))


def test_a_single_request_is_tried_again_in_halves_down_to_a_row() -> None:
    place = Workplace(room=4)
    fits = place.ask(X[:7], *"aaabbbb")
    assert place.finish() == [7, 3, 4]
    assert_same_in_float32(output(fits), torch.cat([place.alone(X[:4], *"aaab"), place.alone(X[4:7], *"bbb")]))
    place = Workplace(room=3)
    asked = place.ask(X[:8], "a")
    assert place.finish() == [8, 4, 2, 2, 4, 2, 2]
    alone = [place.alone(X[at : at + 2], *"aa") for at in range(0, 8, 2)]
    assert_same_in_float32(output(asked), torch.cat(alone))
    place = Workplace(room=3)
    place.module.room = 0
    too_large = place.ask(X[:8], "a")
    assert place.finish() == [8, 4, 2, 1]
    with pytest.raises(Unavailable, match="Not enough memory"):
        too_large.result(0)


def test_nothing_is_shared_before_the_model_has_shown_what_it_does_with_rows() -> None:
    place = Workplace(learned=False)
    asked = [place.ask(X[:2], "a"), place.ask(X[2:4], "b")]
    seen = place.finish()
    assert seen[0] == 2
    assert seen[-1] == 2
    assert 4 not in seen
    assert [len(output(one)) for one in asked] == [2, 2]
    assert place.policy.proof.by_row == {"output"}


def test_each_request_of_a_shared_forward_reports_its_own_wait() -> None:
    place = Workplace()
    first, second = place.ask(X[:1]), place.ask(X[:1], "a")
    place.finish()
    one, other = first.result(0), second.result(0)
    assert one.forward_ms == other.forward_ms > 0
    assert one.queue_ms >= other.queue_ms > 0


def test_each_forward_has_a_line_in_the_debug_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "service.host.worker")
    place = Workplace()
    place.ask(X[:2], "a", "b")
    place.ask(X[:1])
    place.finish()
    (line,) = [record for record in caplog.records if record.msg.startswith("forward ")]
    assert "model=m requests=2 rows=3 adapters=2 queue_ms=" in line.getMessage()
    assert line.levelname == "DEBUG"


def test_who_causes_his_own_failure_makes_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    place = Workplace()
    bad = place.ask(-X[:1], "b")
    with caplog.at_level(logging.INFO, "service.host"):
        place.finish()
    assert isinstance(bad.exception(0), Invalid)
    (line,) = [record for record in caplog.records if record.name == "service.host.scheduling.outcome"]
    assert "model m could not answer a request" in line.getMessage()
    assert "nothing below zero" in line.getMessage()
    assert "\n" not in line.getMessage()
    assert line.exc_info is None


def test_a_failure_that_nobody_foresaw_is_logged_with_where_it_was(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Workplace()

    def leave(x: Tensor) -> Tensor:
        raise SystemExit("enough")

    monkeypatch.setattr(place.module, "forward", leave)
    asked = place.ask(X[:1])
    with caplog.at_level(logging.INFO, "service.host"):
        place.finish()
    assert "SystemExit: enough" in str(asked.exception(0))
    (line,) = [record for record in caplog.records if record.name == "service.host.scheduling.outcome"]
    assert line.exc_info is not None


@pytest.fixture(autouse=True)
def _no_gates_left() -> Iterator[None]:
    yield
    gated.GATES.clear()
