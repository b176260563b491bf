"""Two base models that are asked at the same time, beside each of them alone: on the cores that both share, each has
half of them."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from tests.bench.figures import Figure, medians
from tests.bench.minilm import ADAPTERS, ask, host, inject
from tests.bench.processes import our_service

ROUNDS, REQUESTS = 5, 192  # of each model in one round
CALLERS = 32  # of each model
GOAL = 1 / 0.95


def pairing(directory: Path) -> Iterator[Figure]:
    """Seconds for a request of each."""
    with our_service(directory.parent.resolve(), OMP_NUM_THREADS="") as service, ThreadPoolExecutor(2) as askers:
        works: dict[str, Callable[[], object]] = {}
        for model in ("left", "right"):
            host(service, model)
            bodies = inject(service, model, [f"{model}-{number}" for number in range(ADAPTERS)])
            works[model] = partial(ask, service, model, bodies, REQUESTS, CALLERS)
            works[model]()
        each = tuple(works.values())
        works["both"] = lambda: [asked.result() for asked in [askers.submit(work) for work in each]]
        taken = {name: seconds / REQUESTS for name, seconds in medians(works, ROUNDS).items()}
    alone = taken["left"] + taken["right"]
    yield Figure(f"two minilm at once, {CALLERS} callers each", "one after the other", taken["both"], alone, GOAL)
