import threading
import time
from concurrent.futures import Future

import pytest
import torch
from engines import version_of

from models_registry.base_models.spec import Rows
from models_registry.errors import Conflict, Damaged, DeadlinePassed, NoRoom, Overloaded, Unavailable
from models_registry.inputs.values import Inputs
from service.host.scheduling.batcher import SHARED_S, Batcher, Call
from service.host.scheduling.job import Job
from service.protocol.types import BASE, InferCall, Part, Selection
from tests.service.host.scheduling import jobs


def job(deadline: float | None = None, adapter: str | None = None) -> Job:
    request = InferCall(Inputs({"x": torch.ones(1)}))
    selection = Selection((Part(version_of(adapter), adapter, 1.0),)) if adapter else BASE
    return Job(request, (selection,), Rows({"x": torch.ones(1)}, 1), Future(), 0.0, deadline=deadline)


def queue(batcher: Batcher, *jobs: Job) -> None:
    for one in jobs:
        batcher.admit(one.future)
        batcher.put(one)


def test_jobs_are_taken_in_the_order_of_arrival_and_calls_before_them() -> None:
    batcher = Batcher(10, 64)
    first, second = job(), job()
    queue(batcher, first, second)
    batcher.call(lambda: None)
    assert isinstance(batcher.take(), Call)
    assert batcher.take() == (first,)
    assert batcher.take() == (second,)


def test_a_place_is_taken_from_admission_until_a_job_is_taken_or_done() -> None:
    batcher = Batcher(2, 64)
    queued, reading = job(), job()
    queue(batcher, queued)
    batcher.admit(reading.future)
    with pytest.raises(Overloaded):
        batcher.admit(job().future)
    batcher.take()
    batcher.admit(job().future)
    with pytest.raises(Overloaded):
        batcher.admit(job().future)
    reading.future.cancel()
    batcher.admit(job().future)


def test_a_cancelled_job_leaves_the_queue_at_once() -> None:
    batcher = Batcher(10, 64)
    gone, stays = job(), job()
    queue(batcher, gone, stays)
    gone.future.cancel()
    assert batcher.drain() == (stays,)


def test_a_job_that_was_cancelled_before_it_is_put_is_not_queued() -> None:
    batcher = Batcher(10, 64)
    gone = job()
    batcher.admit(gone.future)
    gone.future.cancel()
    batcher.put(gone)
    assert batcher.drain() == ()


def test_a_closed_batcher_says_why_and_still_gives_what_it_holds() -> None:
    batcher = Batcher(10, 64)
    held, reading = job(), job()
    queue(batcher, held)
    batcher.admit(reading.future)
    batcher.close(Conflict("it was unloaded"))
    batcher.close(Unavailable("later reasons don't count"))
    for refused in (lambda: batcher.admit(job().future), lambda: batcher.put(reading), lambda: batcher.call(print)):
        with pytest.raises(Conflict, match="it was unloaded"):
            refused()
    assert batcher.wait()
    assert batcher.take() == (held,)
    assert not batcher.wait()


def test_who_waits_for_an_adapter_is_passed_over_until_it_is_there() -> None:
    batcher = Batcher(10, 64)
    waits, ready = job(adapter="a"), job()
    queue(batcher, waits, ready)
    assert batcher.take(lambda: {"a"}) == (ready,)
    assert batcher.take(lambda: {"a"}) is None
    assert batcher.take() == (waits,)


def test_nothing_changes_between_the_look_at_absences_and_the_choice() -> None:
    batcher = Batcher(10, 64)
    late = job(adapter="a")
    coming = threading.Thread(target=queue, args=(batcher, late))

    def absent() -> set[str]:
        coming.start()
        coming.join(0.05)
        return set()  # nobody waits for `a` yet

    assert batcher.take(absent) is None
    coming.join()
    assert batcher.drain() == (late,)


def test_a_job_that_waits_for_a_failed_load_gets_the_reason() -> None:
    batcher = Batcher(10, 64)
    loses, unsatisfiable, stays = job(adapter="a"), job(adapter="b"), job(adapter="c")
    queue(batcher, loses, unsatisfiable, stays)
    batcher.fail("a", Damaged("0" * 64))
    batcher.refuse({unsatisfiable.keys: NoRoom("too large")})
    assert isinstance(loses.future.exception(0), Damaged)
    assert isinstance(unsatisfiable.future.exception(0), NoRoom)
    assert batcher.drain() == (stays,)


def test_once_closed_nobody_waits_for_an_adapter_any_more() -> None:
    batcher = Batcher(10, 64)
    waits, ready = job(adapter="a"), job()
    queue(batcher, waits, ready)
    batcher.close(Conflict("it was unloaded"))
    assert batcher.take(lambda: {"a"}) == (ready,)
    assert batcher.wait()
    assert batcher.take(lambda: {"a"}) is None
    assert isinstance(waits.future.exception(0), Conflict)
    assert not batcher.wait()


def test_nothing_that_happens_between_looking_and_waiting_is_overslept() -> None:
    batcher = Batcher(10, 64)
    queue(batcher, job(adapter="a"))
    assert batcher.wait()
    batcher.wake()  # the adapter came while the worker still took it for absent
    assert batcher.take(lambda: {"a"}) is None
    assert batcher.wait()
    assert batcher.take() is not None


def test_a_damaged_blob_is_reported_unchanged() -> None:
    batcher = Batcher(10, 64)
    batcher.close(Damaged("0" * 64))
    for _ in range(2):
        with pytest.raises(Damaged, match="sha256:0000"):
            batcher.admit(job().future)


def test_a_job_begins_only_while_its_caller_waits_and_before_its_deadline() -> None:
    assert job().begin()
    assert job(deadline=time.monotonic() + 1000).begin()
    cancelled = job()
    cancelled.future.cancel()
    assert not cancelled.begin()
    late = job(deadline=time.monotonic() - 1)
    assert not late.begin()
    assert isinstance(late.future.exception(), DeadlinePassed)


def test_a_large_request_is_cut_to_the_time_that_other_teams_may_wait() -> None:
    batcher = Batcher(100, 64)
    whole = jobs.job("a", rows=8, team="A", divisible=True)
    batcher.times.record([whole], 8 * SHARED_S / 2.1)
    queue(batcher, whole, jobs.job("b", team="B"))
    taken: list[list[tuple[str, int]]] = []
    while batch := batcher.take():
        assert isinstance(batch, tuple)
        assert all(one.begin() for one in batch)
        taken.append([(one.team, one.start) for one in batch])
    assert taken == [[("A", 0)], [("B", 0)], [("A", 2), ("A", 4), ("A", 6)]]


def test_a_large_request_that_was_cut_leaves_the_queue_with_its_caller() -> None:
    batcher = Batcher(100, 4)
    whole, other = jobs.job("a", rows=8, team="A", divisible=True), jobs.job("b", team="B")
    batcher.times.record([whole], 8 * SHARED_S / 2.1)
    queue(batcher, whole, other)
    assert batcher.take() is not None
    whole.future.cancel()
    assert batcher.drain() == (other,)


def test_a_full_queue_has_a_place_for_another_team() -> None:
    batcher = Batcher(2, 64)
    for _ in range(2):
        batcher.admit(Future(), "A")
    with pytest.raises(Overloaded):
        batcher.admit(Future(), "A")
    batcher.admit(Future(), "B")
    assert (batcher.stats.requests, batcher.stats.refused) == (3, 1)


def test_where_a_forward_has_no_fixed_time_a_quiet_teams_batches_have_fewer_rows() -> None:
    batcher = Batcher(100, 64)
    for rows in (1, 8, 2):
        batcher.times.record([jobs.job("a", rows=rows)], 0.01 * rows)
    queue(batcher, *(jobs.job("a", team="A") for _ in range(20)), jobs.job("b", team="B"))
    taken = [batcher.take() for _ in range(3)]
    assert [len(batch) for batch in taken if isinstance(batch, tuple)] == [3, 3, 6]
