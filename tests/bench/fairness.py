"""What a quiet team notices of others' load: its requests over HTTP alone, and beside teams that ask ten times as much.

Every caller sends its next request once it has its answer. The quiet team has one, the others together ten, or one each
where there are more of them. Every team has an adapter of its own.

In the front, threads answer lists: there one team has many callers who list all there is, and the quiet one lists its
own.
"""

import asyncio
import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from tests.bench.client import get_message, read_answer, request_head
from tests.bench.figures import Figure
from tests.bench.minilm import SMALL, TEXT
from tests.bench.minilm import host as host_minilm
from tests.bench.processes import our_service
from tests.e2e.process import Service

TEAMS, LOAD = (2, 10, 50), 10
REQUESTS, ROWS = 100, 64
P50_GOAL = 3.0
LISTING_GOAL = 10.0
LISTING, LISTED = 64, 150
"""Callers who list, and adapters of their team."""
ADMIN = "the-key-of-the-bench"
TINY = {"peft_type": "LORA", "r": 2, "target_modules": ["first", "second"], "init_lora_weights": False}


Ask: TypeAlias = Callable[[str], bytes]
"""What is sent with a key."""


@dataclass(frozen=True, slots=True)
class Work:
    """What one model is asked: `row` is one row of the input `name`."""

    model: str
    config: Mapping[str, object]
    name: str
    row: object

    @property
    def path(self) -> str:
        return f"/models/{self.model}/infer"

    def body(self, rows: int = 1) -> bytes:
        return json.dumps({"adapter": f"of-{self.model}", "inputs": {self.name: [self.row] * rows}}).encode()

    def ask(self, key: str, rows: int = 1) -> bytes:
        body = self.body(rows)
        return request_head(self.path, len(body), {"X-API-Key": key}) + body


WORKS = (Work("tiny", TINY, "x", [0.1, 0.2, 0.3, 0.4]), Work("minilm", SMALL, "text", TEXT))


def being_fair(directory: Path) -> Iterator[Figure]:
    with our_service(directory.parent.resolve(), "bases:*", ADAPTER_SERVICE_ADMIN_KEY=ADMIN) as service:
        service.http.headers["X-API-Key"] = ADMIN
        service.register("tiny", {"kind": "python", "factory": "bases:mlp", "kwargs": {}})
        host_minilm(service, "minilm")
        keys = [_team(service, f"team-{number}") for number in range(max(TEAMS))]
        for work in WORKS:
            yield from _figures(service.port, work, keys)
        yield from _listing(service, *keys[:2])


def _team(service: Service, name: str) -> str:
    """A key of a new team that has adapters."""
    _post(service, "/teams", {"name": name})
    key: str = _post(service, "/keys", {"name": "bench", "role": "publisher", "team": name})["key"]
    for work in WORKS:
        body = {"name": f"of-{work.model}", "config": work.config, "seed": 1}
        answer = service.http.post(f"/models/{work.model}/adapters", json=body, headers={"X-API-Key": key})
        answer.raise_for_status()
    return key


def _post(service: Service, path: str, body: Mapping[str, object]) -> Any:
    return service.http.post(path, json=body).raise_for_status().json()


def _figures(port: int, work: Work, keys: Sequence[str]) -> Iterator[Figure]:
    quiet = keys[0]
    full = statistics.median(asyncio.run(_times(port, work.ask(quiet, ROWS), 20)))
    for teams in TEAMS:
        others = [keys[1 + number % (teams - 1)] for number in range(max(LOAD, teams - 1))]
        for beside in ([], others):  # adapters come into memory, and the time of forwards is learnt
            asyncio.run(_beside(port, work.ask, quiet, beside, REQUESTS // 5))
        alone = asyncio.run(_beside(port, work.ask, quiet, [], REQUESTS))
        loaded = asyncio.run(_beside(port, work.ask, quiet, others, REQUESTS))
        what = f"{work.model}, {teams} teams, {len(others)} other callers"
        yield Figure(f"{what}, p50", "alone, p50", _percentile(loaded, 50), _percentile(alone, 50), P50_GOAL)
        yield Figure(f"{what}, p99", "alone, p99", _percentile(loaded, 99), _percentile(alone, 99), P50_GOAL)
        bound = _percentile(alone, 99) + 2 * full
        yield Figure(f"{what}, p99", "alone, p99, and two full forwards", _percentile(loaded, 99), bound, 1.0)


def _listing(service: Service, quiet: str, loud: str) -> Iterator[Figure]:
    for number in range(LISTED):
        body = {"name": f"listed-{number}", "config": TINY, "seed": 1}
        answer = service.http.post("/models/tiny/adapters", json=body, headers={"X-API-Key": loud})
        answer.raise_for_status()

    def ask(key: str) -> bytes:
        return get_message("/adapters?limit=200", {"X-API-Key": key})

    alone = asyncio.run(_beside(service.port, ask, quiet, [], REQUESTS))
    beside_one = asyncio.run(_beside(service.port, ask, quiet, [loud], REQUESTS))
    loaded = asyncio.run(_beside(service.port, ask, quiet, [loud] * LISTING, REQUESTS))
    what = f"a list beside {LISTING} callers who list"
    yield Figure(f"{what}, p50", "alone, p50", _percentile(loaded, 50), _percentile(alone, 50), LISTING_GOAL)
    yield Figure(
        f"{what}, p50", "beside one of them, p50", _percentile(loaded, 50), _percentile(beside_one, 50), LISTING_GOAL
    )


def _percentile(times: Sequence[float], percent: int) -> float:
    return statistics.quantiles(times, n=100, method="inclusive")[percent - 1]


async def _beside(port: int, ask: Ask, quiet: str, others: Sequence[str], requests: int) -> list[float]:
    """How long each of the quiet team's requests took, while others ask."""
    busy = [asyncio.create_task(_times(port, ask(key))) for key in others]
    try:
        return await _times(port, ask(quiet), requests)
    finally:
        for one in busy:
            one.cancel()
        for error in await asyncio.gather(*busy, return_exceptions=True):
            if isinstance(error, Exception):
                raise error


async def _times(port: int, message: bytes, requests: int | None = None) -> list[float]:
    """Seconds of requests that follow each other, for ever where there is no number."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    times: list[float] = []
    try:
        while requests is None or len(times) < requests:
            begun = time.perf_counter()
            writer.write(message)
            await read_answer(reader)
            times.append(time.perf_counter() - begun)
    finally:
        writer.close()
    return times
