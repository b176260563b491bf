"""What the cut between front and host costs: one short request there and back, over a local process and without one."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import torch

from models_registry.errors import Unavailable
from models_registry.inputs.values import Inputs
from models_registry.records import BaseModel, PythonSource
from models_registry.storage.blobs import open_blob_store
from service.protocol.host import ModelHost, Transport
from service.protocol.types import BASE, BuildOrder, HostLimits, InferCall
from service.transports.in_process import InProcess
from service.transports.local_process import PRELOADED, HostSettings, LocalProcess
from service.transports.processes.environment import host_environment
from service.transports.processes.launchers import open_launcher
from tests.bench.figures import Figure, medians
from tests.bench.wide import WIDTH

ROUNDS, REQUESTS = 9, 400  # of one round
FACTORY = "tests.bench.wide:wide"
GOAL_S = 1e-4
OVER = Unavailable("The bench is over.")


def hopping(_: Path) -> Iterator[Figure]:
    """A row of 512 floats to a model that does hardly anything, one request after the other."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        url = f"file:{folder}"
        transports: dict[str, Transport] = {
            "process": LocalProcess(HostSettings(url), open_launcher("cpu", PRELOADED, host_environment(os.environ))),
            "here": InProcess(open_blob_store(url).get),
        }
        works: dict[str, Callable[[], object]] = {}
        for name, transport in transports.items():
            host = _built(stack.enter_context(closing(transport)))
            stack.callback(host.end, OVER)
            works[name] = partial(_ask, host)
            works[name]()
        taken = {name: seconds / REQUESTS for name, seconds in medians(works, ROUNDS).items()}
    yield Figure(
        "a short request to a host in a process of its own",
        "in the same process",
        taken["process"],
        taken["here"],
        1.0 + GOAL_S / taken["here"],
    )
    yield Figure("the hop: the difference", "0.1 ms", taken["process"] - taken["here"], GOAL_S, 1.0)


def _built(transport: Transport) -> ModelHost:
    source, made_at = PythonSource(FACTORY, {}), datetime(2026, 1, 1, tzinfo=UTC)
    base = BaseModel("wide", source, None, None, None, None, True, made_at)
    host = transport.start("wide")
    host.open(BuildOrder(base, (), (FACTORY,), HostLimits("cpu"))).result()
    host.build().result()
    host.profile().result()  # once it was probed
    return host


def _ask(host: ModelHost) -> None:
    call = InferCall(Inputs({"x": torch.zeros(1, WIDTH)}))
    for id in range(REQUESTS):
        host.infer(id, call, (BASE,)).result()
