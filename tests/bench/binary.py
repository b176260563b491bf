"""32 rows of 512 numbers in and out as safetensors, beside the same as JSON: the time that is not the forward's.

One caller, one connection. The forward's own time is the answer's `timing`.
"""

import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import torch
from safetensors.torch import save

from tests.bench.figures import Figure
from tests.bench.processes import our_service, peer
from tests.bench.wide import WIDTH

ROWS, ROUNDS, REQUESTS = 32, 9, 40
SAFETENSORS = "application/vnd.safetensors"
GOAL = 1 / 10


def sending(directory: Path) -> Iterator[Figure]:
    rows = torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(0))
    written, binary = json.dumps({"inputs": {"x": rows.tolist()}}).encode(), save({"x": rows})
    as_json, as_safetensors = {"Content-Type": "application/json"}, {"Content-Type": SAFETENSORS, "Accept": SAFETENSORS}
    with (
        our_service(directory.parent, "tests.bench.wide:wide") as service,
        peer("tests.bench.echo:app") as port,
        closing(HTTPConnection("127.0.0.1", service.port)) as ours,
        closing(HTTPConnection("127.0.0.1", port)) as own,
    ):
        service.register("wide", {"kind": "python", "factory": "tests.bench.wide:wide", "kwargs": {}})
        works: Mapping[str, Callable[[], float]] = {
            "safetensors": lambda: _beside(ours, "/models/wide/infer", binary, as_safetensors),
            "JSON": lambda: _beside(ours, "/models/wide/infer", written, as_json),
            "own": lambda: _beside(own, "/infer", written, as_json),
        }
        taken: dict[str, list[float]] = {name: [] for name in works}
        for _ in range(ROUNDS):
            for name, work in works.items():
                taken[name].append(statistics.median(work() for _ in range(REQUESTS)))
    seconds = {name: statistics.median(times) for name, times in taken.items()}
    work = f"{ROWS} x {WIDTH} floats as safetensors, beside the forward"
    yield Figure(work, "our JSON", seconds["safetensors"], seconds["JSON"], GOAL)
    yield Figure(work, "FastAPI with Python's own JSON", seconds["safetensors"], seconds["own"], GOAL)


def _beside(client: HTTPConnection, path: str, body: bytes, headers: Mapping[str, str]) -> float:
    """Seconds of one request, without the forward where the answer says how long that took."""
    begun = time.perf_counter()
    client.request("POST", path, body, dict(headers))
    answer = client.getresponse()
    read = answer.read()
    taken = time.perf_counter() - begun
    if answer.status != 200:
        raise RuntimeError(read.decode())
    timing = answer.headers.get("server-timing", "")
    forward = timing.partition("forward;dur=")[2].partition(",")[0]
    return taken - float(forward or 0) / 1000
