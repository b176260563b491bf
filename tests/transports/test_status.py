"""What a front may rely on, whichever way a host's words come: how a host says it goes."""

import bases
import pytest
from engines import ROWS, TIMEOUT_S

from models_registry.errors import (
    WithoutEffect,
)
from models_registry.storage.blobs import BlobStore
from service.protocol.host import ModelHost
from tests.transports.conftest import StartHost
from tests.transports.hosts import ask, build, order, put, select, status_of

ONE = 184  # bytes of `RANDOM_LORA` on the tiny MLP: 46 float32 numbers


def test_the_status_counts_what_ran(host: ModelHost, blobs: BlobStore) -> None:
    ask(host, select((put(blobs, "a"), 1.0))).result(TIMEOUT_S)
    ask(host).result(TIMEOUT_S)
    status = status_of(host)
    assert status.is_probed
    assert (status.stats.rows_per_forward.sum, status.stats.adapters_per_forward.sum) == (2 * len(ROWS), 1)
    assert (status.stats.adapters.loads, status.stats.adapters.bytes, status.stats.queue.requests) == (1, ONE, 0)
    assert status.stats.adapters.resident == 1


def test_an_adapter_that_its_forward_never_reached_is_inactive(start_host: StartHost, blobs: BlobStore) -> None:
    host = build(start_host(), order("bases:detour"))
    idle = put(blobs, "idle", module=bases.detour(), target_modules=["spare"])
    with pytest.raises(WithoutEffect) as caught:
        ask(host, select((idle, 1.0))).result(TIMEOUT_S)
    assert [fault.loc for fault in caught.value.faults] == [("adapter", "idle@1")]
    assert status_of(host).inactive == {idle.key}
