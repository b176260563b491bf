"""What keys cost: 64 callers with a key of a team that has every limit, beside a service that has no keys.

Usage is counted in both, for it always is. Requests are small, so that the model takes as little of the time as it can.
"""

import statistics
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import psutil

from tests.bench.client import post_all
from tests.bench.fairness import WORKS
from tests.bench.figures import Figure, medians
from tests.bench.processes import our_service
from tests.e2e.process import Service

CALLERS, REQUESTS, ROUNDS = 64, 1000, 15
GOAL = 1.05
ADMIN = {"X-API-Key": "the-key-of-the-bench"}
LIMITS = {
    "requests_per_minute": 10_000_000,
    "tokens_per_minute": 10_000_000,
    "rows_in_flight": 1000,
    "sequences_in_flight": 1000,
    "request_bytes": 1 << 20,
    "adapters": 10,
    "stored_bytes": 1 << 30,
}


def authenticating(directory: Path) -> Iterator[Figure]:
    models = directory.parent.resolve()
    work, _ = WORKS
    with (
        our_service(models, "bases:*") as without,
        our_service(models, "bases:*", ADAPTER_SERVICE_ADMIN_KEY=ADMIN["X-API-Key"]) as with_keys,
    ):
        with_keys.http.headers.update(ADMIN)
        for service in (without, with_keys):
            service.register(work.model, {"kind": "python", "factory": "bases:mlp"})
        body = {"name": f"of-{work.model}", "config": work.config, "seed": 1}
        with_keys.http.post("/teams", json={"name": "bench", "limits": LIMITS}).raise_for_status()
        made = with_keys.http.post("/keys", json={"name": "bench", "team": "bench", "role": "publisher"})
        key = {"X-API-Key": made.raise_for_status().json()["key"]}
        for service, headers in ((without, {}), (with_keys, key)):
            service.http.post(f"/models/{work.model}/adapters", json=body, headers=headers).raise_for_status()

        processor_s: dict[Service, list[float]] = {without: [], with_keys: []}

        def ask(service: Service, headers: Mapping[str, str]) -> None:
            before = _processor_s(service)
            post_all(service.port, work.path, [work.body()], CALLERS, REQUESTS, headers)
            processor_s[service].append(_processor_s(service) - before)

        works: dict[str, Callable[[], object]] = {
            "without": partial(ask, without, {}),
            "with": partial(ask, with_keys, key),
        }
        for one in works.values():
            one()
        taken = {name: seconds / REQUESTS for name, seconds in medians(works, ROUNDS).items()}
    name = f"tiny over HTTP, {CALLERS} callers, keys and limits"
    yield Figure(name, "no keys", taken["with"], taken["without"], GOAL)
    ours, theirs = (statistics.median(processor_s[service]) / REQUESTS for service in (with_keys, without))
    yield Figure(f"{name}, processor", "no keys, processor", ours, theirs, GOAL)


def _processor_s(service: Service) -> float:
    """What the front took so far: others on the machine make an answer later, and this hardly more."""
    times = psutil.Process(service.pid).cpu_times()
    return times.user + times.system
