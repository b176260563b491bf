"""A host that is killed while two models are asked: what its neighbour's callers notice, and how soon it is back."""

import threading
import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx

from tests.bench.figures import Count, Figure, seconds
from tests.bench.minilm import host, request
from tests.bench.processes import hosts_of, our_service
from tests.e2e.process import Service, until

DEATHS, CALLERS = 5, 4
BEFORE_S = 1.0
"""Of traffic before each death, so that it meets requests that run."""
WORST_S, LONGER_S = 0.25, 2.0
PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    begun: float
    ended: float


def dying(directory: Path) -> Iterator[Figure | Count]:
    with our_service(directory.parent.resolve()) as service:
        host(service, "steady")
        with _traffic(service, "steady"):  # as when it is built again: models are built with low priority
            load_s = seconds(partial(host, service, "dying"))
        lost, worst, back = 0, list[float](), list[float]()
        for _ in range(DEATHS):
            steady, killed_at, back_at = _death(service)
            met = [answer for answer in steady if answer.ended >= killed_at]
            lost += sum(answer.status != 200 for answer in met)
            worst.append(max(answer.ended - answer.begun for answer in met))
            back.append(back_at - killed_at)
    yield Count(f"requests that {CALLERS} callers of a neighbour lost", lost, 0, f"in {DEATHS} deaths of a host")
    yield Figure("a neighbour's worst answer, median of the deaths", "250 ms", _median(worst), WORST_S, 1.0)
    yield Figure("from a host's death to its next answer", "its load and 2 s", _median(back), load_s + LONGER_S, 1.0)


def _death(service: Service) -> tuple[list[Answer], float, float]:
    """The neighbour's answers, when the host was killed, and when it answered again."""
    victim = max(hosts_of(service), key=lambda one: one.create_time())  # the other one is older
    with _traffic(service, "steady") as steady, _traffic(service, "dying") as dying:
        time.sleep(BEFORE_S)
        killed_at = time.monotonic()
        victim.kill()
        back_at = until(lambda: next((one.ended for one in list(dying) if _is_back(one, killed_at)), None))
    return steady, killed_at, back_at


def _is_back(answer: Answer, killed_at: float) -> bool:
    """An answer that the dead host can't have made."""
    return answer.status == 200 and answer.begun > killed_at


@contextmanager
def _traffic(service: Service, model: str) -> Generator[list[Answer]]:
    """Callers who ask all the while; what they were answered, complete once this has ended."""
    over, answers = threading.Event(), list[Answer]()

    def ask() -> None:
        with httpx.Client(base_url=service.address, timeout=PATIENCE_S) as http:
            while not over.is_set():
                begun = time.monotonic()
                answer = http.post(f"/models/{model}/infer", content=request(None))
                answers.append(Answer(answer.status_code, begun, time.monotonic()))

    with ThreadPoolExecutor(CALLERS) as callers:
        asking = [callers.submit(ask) for _ in range(CALLERS)]
        try:
            yield answers
        finally:
            over.set()
    for one in asking:
        one.result()


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]
