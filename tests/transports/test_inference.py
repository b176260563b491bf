"""What a front may rely on, whichever way a host's words come: answers, refusals, deadlines and cancellations."""

from concurrent.futures import CancelledError, Future

import pytest
import torch
from engines import ROWS, TIMEOUT_S, eventually, tensor
from tolerance import assert_same_in_float32

from models_registry.errors import (
    DeadlinePassed,
    Invalid,
    Overloaded,
)
from models_registry.storage.blobs import BlobStore
from service.protocol.host import ModelHost
from service.protocol.types import BASE, HostAnswer, HostLimits
from tests.transports.conftest import StartHost
from tests.transports.hosts import Gate, ask, bare, build, order, put, select, status_of


def test_answers_are_what_the_bare_module_gives_with_those_weights(host: ModelHost, blobs: BlobStore) -> None:
    a, b = put(blobs, "a", seed=1), put(blobs, "b", seed=2)
    for weighted in ([], [(a, 1.0)], [(a, 0.5), (b, -2.0)]):
        answer = ask(host, select(*weighted)).result(TIMEOUT_S)
        assert answer.selections == (select(*weighted),) * len(ROWS)
        assert_same_in_float32(tensor(answer.outputs["output"]), bare(blobs, *weighted)(ROWS).detach())


def test_each_row_of_a_list_has_its_own_adapters(host: ModelHost, blobs: BlobStore) -> None:
    a, b = put(blobs, "a", seed=1), put(blobs, "b", seed=2)
    rows = ([(b, 1.0)], [], [(a, 0.5), (b, 1.0)])
    answer = ask(host, *(select(*weighted) for weighted in rows)).result(TIMEOUT_S)
    assert answer.selections == tuple(select(*weighted) for weighted in rows)
    expected = torch.cat([bare(blobs, *weighted)(ROWS[n : n + 1]) for n, weighted in enumerate(rows)]).detach()
    assert_same_in_float32(tensor(answer.outputs["output"]), expected)


def test_an_answer_says_how_long_it_waited_and_ran(host: ModelHost, blobs: BlobStore) -> None:
    answer = ask(host, select((put(blobs, "a"), 1.0))).result(TIMEOUT_S)
    assert answer.queue_ms >= 0
    assert answer.load_ms > 0
    assert answer.forward_ms > 0


def test_each_selection_of_an_answer_says_what_its_rows_used(host: ModelHost, blobs: BlobStore) -> None:
    a = put(blobs, "a", seed=1)
    answer = ask(host, select((a, 1.0)), BASE, select((a, 1.0))).result(TIMEOUT_S)
    assert [used.rows for used in answer.used] == [2, 1]
    first, second = (used.forward_s for used in answer.used)
    assert first == pytest.approx(2 * second)
    assert first + second == pytest.approx(answer.forward_ms / 1000)


def test_what_does_not_fit_the_model_is_said_with_its_place(host: ModelHost) -> None:
    with pytest.raises(Invalid) as caught:
        ask(host, outputs=("nowhere",)).result(TIMEOUT_S)
    assert caught.value.faults[0].loc == ("outputs", "nowhere")
    with pytest.raises(Invalid) as caught:
        ask(host, BASE, BASE).result(TIMEOUT_S)
    assert caught.value.faults
    with pytest.raises(Invalid, match="mat1 and mat2"):
        ask(host, x=torch.ones(2, 5)).result(TIMEOUT_S)
    assert ask(host).result(TIMEOUT_S).outputs


def test_what_a_module_raises_that_nobody_foresaw_fails_its_request_alone(start_host: StartHost) -> None:
    host = build(start_host(), order("bases:exiting"))
    with pytest.raises(RuntimeError, match="SystemExit"):
        ask(host, x=-torch.ones(1, 4)).result(TIMEOUT_S)
    assert ask(host, x=torch.ones(1, 4)).result(TIMEOUT_S).outputs


def test_a_request_whose_time_is_over_never_runs(gated_host: ModelHost, gate: Gate) -> None:
    gate.shut()
    runs = ask(gated_host)
    gate.wait_for_arrivals(1)
    late = ask(gated_host, x=ROWS[:2], remaining_s=0.0)
    eventually(lambda: status_of(gated_host).stats.queue.requests == 1 or late.done())
    gate.open()
    with pytest.raises(DeadlinePassed):
        late.result(TIMEOUT_S)
    assert runs.result(TIMEOUT_S).outputs
    assert 2 not in gate.arrivals


def test_more_requests_than_the_queue_takes_are_refused(start_host: StartHost, gate: Gate) -> None:
    host = build(start_host(), order("bases:waiting", HostLimits("cpu", max_queue=1), folder=str(gate.folder)))
    gate.shut()
    runs = ask(host)
    gate.wait_for_arrivals(1)
    waits = ask(host)
    with pytest.raises(Overloaded):
        ask(host).result(TIMEOUT_S)
    assert status_of(host).stats.queue.refused == 1
    gate.open()
    assert all(one.result(TIMEOUT_S).outputs for one in (runs, waits))


def test_a_team_that_asks_more_waits_longer_and_no_other_does(start_host: StartHost, gate: Gate) -> None:
    host = build(start_host(), order("bases:waiting", HostLimits("cpu", max_batch_rows=1), folder=str(gate.folder)))
    gate.shut()
    answered = list[str]()

    def ask_for(team: str) -> Future[HostAnswer]:
        future = ask(host, x=ROWS[:1], team=team)
        future.add_done_callback(lambda _: answered.append(team))
        return future

    ask_for("busy")
    gate.wait_for_arrivals(1)
    waiting = [ask_for(team) for team in ("busy", "busy", "busy", "quiet")]
    eventually(lambda: status_of(host).stats.queue.requests == len(waiting))
    gate.open()
    eventually(lambda: len(answered) == 5)
    assert answered == ["busy", "busy", "quiet", "busy", "busy"]


def test_a_request_that_is_cancelled_leaves_the_queue_and_never_runs(gated_host: ModelHost, gate: Gate) -> None:
    gate.shut()
    runs = ask(gated_host)
    gate.wait_for_arrivals(1)
    leaves = ask(gated_host, x=ROWS[:2], id=-1)
    eventually(lambda: status_of(gated_host).stats.queue.rows == 2)
    gated_host.cancel(-1)
    eventually(lambda: status_of(gated_host).stats.queue.requests == 0)
    gated_host.cancel(-2)  # nobody knows it, which is no error
    gate.open()
    assert runs.result(TIMEOUT_S).outputs
    assert ask(gated_host).result(TIMEOUT_S).outputs
    assert 2 not in gate.arrivals
    with pytest.raises(CancelledError):
        leaves.result(TIMEOUT_S)
