"""What a front may rely on, whichever way a host's words come: closing, ending and giving up."""

import pytest
from engines import RANDOM_LORA, TIMEOUT_S, eventually

from models_registry.errors import (
    Conflict,
    RegistryError,
    Unavailable,
)
from models_registry.storage.blobs import BlobStore
from service.protocol.host import ModelHost
from service.protocol.types import FreshWeights
from tests.transports.conftest import StartHost
from tests.transports.hosts import Gate, ask, order, put, status_of

OVER = Conflict("The base model 'm' was unloaded; load it first.", hint="Load it.")


def test_a_host_that_is_closed_answers_what_is_queued_and_nothing_more(gated_host: ModelHost, gate: Gate) -> None:
    gate.shut()
    runs = ask(gated_host)
    gate.wait_for_arrivals(1)
    waits = ask(gated_host)
    eventually(lambda: status_of(gated_host).stats.queue.requests == 1)
    closed = gated_host.close(OVER)
    refused = ask(gated_host)
    with pytest.raises(Conflict) as caught:
        refused.result(TIMEOUT_S)
    assert (caught.value.detail, caught.value.hint) == (OVER.detail, OVER.hint)
    assert not closed.done()
    gate.open()
    closed.result(TIMEOUT_S)
    assert all(one.result(TIMEOUT_S).outputs for one in (runs, waits))
    assert not gated_host.lost.done()


def test_a_host_that_is_ended_answers_why_to_what_runs_and_what_waits(gated_host: ModelHost, gate: Gate) -> None:
    gate.shut()
    runs = ask(gated_host)
    gate.wait_for_arrivals(1)
    waits = ask(gated_host)
    gated_host.end(OVER)
    for one in (runs, waits, ask(gated_host)):
        with pytest.raises(Conflict, match="was unloaded"):
            one.result(TIMEOUT_S)
    assert not gated_host.lost.done()


def test_a_host_that_is_ended_answers_why_to_every_verb(host: ModelHost, blobs: BlobStore) -> None:
    version = put(blobs, "a")
    assert host.end(OVER)
    asked = [
        ask(host),
        host.profile(),
        host.prepare(version),
        host.attach(version),
        host.load(version, True),
        host.unload([version.key]),
        host.initial_weights(5, FreshWeights(RANDOM_LORA, 0)),
        host.status(),
    ]
    for one in asked:
        with pytest.raises(RegistryError, match="was unloaded"):
            one.result(TIMEOUT_S)
    host.forget([version.key])
    host.cancel(0)
    host.give_up(OVER)
    assert host.end(OVER)


def test_a_host_that_gives_up_answers_why_at_once(gated_host: ModelHost, gate: Gate) -> None:
    gate.shut()
    runs = ask(gated_host)
    gate.wait_for_arrivals(1)
    waits = ask(gated_host)
    eventually(lambda: status_of(gated_host).stats.queue.requests == 1)
    gated_host.give_up(Unavailable("The service is shutting down."))
    for one in (runs, waits):
        with pytest.raises(Unavailable, match="shutting down"):
            one.result(TIMEOUT_S)


def test_a_host_that_was_never_built_can_be_ended(start_host: StartHost) -> None:
    opened, unopened = start_host(), start_host()
    opened.open(order()).result(TIMEOUT_S)
    assert opened.end(OVER)
    assert unopened.end(OVER)
