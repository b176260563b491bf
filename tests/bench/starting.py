"""What processes of their own cost beside models in the service's: time until it is ready, and memory."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import psutil

from tests.bench.figures import Count, Figure, medians
from tests.bench.minilm import host
from tests.bench.processes import our_service
from tests.e2e.process import Service

ROUNDS = 3
MOST_MB = 150
TRANSPORTS = ("local_process", "in_process")


def starting(directory: Path) -> Iterator[Figure | Count]:
    models = directory.parent.resolve()
    with ExitStack() as stack:
        services = {
            name: stack.enter_context(our_service(models, ADAPTER_SERVICE_TRANSPORT=name)) for name in TRANSPORTS
        }
        second_mb: dict[str, int] = {}
        for name, service in services.items():
            host(service, "first")
            before = _memory_mb(service)
            host(service, "second")
            second_mb[name] = _memory_mb(service) - before
        works: dict[str, Callable[[], object]] = {name: partial(_again, one) for name, one in services.items()}
        taken = medians(works, ROUNDS)
    more, here = second_mb["local_process"] - second_mb["in_process"], second_mb["in_process"]
    yield Count("MB of a second minilm, more than in one process", more, MOST_MB, f"{here} MB there (PSS of all)")
    ours, theirs = taken["local_process"], taken["in_process"]
    yield Figure("started again to ready, two minilm", "models in the service's process", ours, theirs, 1.0)


def _again(service: Service) -> None:
    service.ask_to_end()
    service.wait_for_the_end()
    service.start().wait_until_ready()


def _memory_mb(service: Service) -> int:
    """Of all its processes; what several of them share counts once."""
    process = psutil.Process(service.pid)
    return sum(one.memory_full_info().pss for one in [process, *process.children(recursive=True)]) >> 20
