"""minilm over HTTP with a thousand adapters registered and 64 of them in use, beside a service that has 16 and no more.

Those that nobody asks for are small, for creating large ones would take most of the bench's time.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tests.bench.figures import Figure, medians
from tests.bench.minilm import ADAPTERS, CALLERS, SMALL, ask, host, inject
from tests.bench.processes import our_service

ROUNDS, REQUESTS = 5, 384  # of one round
REGISTERED, IN_USE = 1000, 64
GOAL = 1.1
MODEL = "float32"


def crowding(directory: Path) -> Iterator[Figure]:
    models = directory.parent.resolve()
    with our_service(models) as few, our_service(models) as many:
        for service in (few, many):
            host(service, MODEL)
        used = inject(many, MODEL, [f"used-{number}" for number in range(IN_USE)])
        inject(many, MODEL, [f"idle-{number}" for number in range(REGISTERED - IN_USE)], SMALL)
        works: dict[str, Callable[[], object]] = {
            "few": partial(ask, few, MODEL, inject(few, MODEL, [f"a{number}" for number in range(ADAPTERS)]), REQUESTS),
            "many": partial(ask, many, MODEL, used, REQUESTS),
        }
        for work in works.values():
            work()
        taken = {name: seconds / REQUESTS for name, seconds in medians(works, ROUNDS).items()}
    work = f"minilm over HTTP, {CALLERS} callers, {IN_USE} in use of {REGISTERED}"
    yield Figure(work, f"{ADAPTERS} adapters in all", taken["many"], taken["few"], GOAL)
