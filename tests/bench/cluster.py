"""The service on Ray: what its hop costs, what a second replica gains, how much is warm where a quarter fits.

On this machine alone, one thread for each replica: more replicas than cores gain nothing.
"""

import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench.figures import Figure, Share, medians, seconds
from tests.bench.minilm import CALLERS, ask, host, inject
from tests.bench.processes import our_service
from tests.e2e.process import Service
from tests.support.databases import Postgres, postgres_server

MODEL, ADAPTERS, FIT, REPLICAS = "minilm", 64, 16, 4
ADAPTER_BYTES = 2_703_360
ROUNDS, REQUESTS, ALONE, CPUS = 3, 256, 50, 32
WARM_UP = 1024


def clustering(smollm2: Path) -> Iterator[Figure | Share]:
    models = smollm2.parent.resolve()
    with postgres_server() as postgres:
        with our_service(models) as single, _cluster(models, postgres, 1) as one, _cluster(models, postgres, 2) as two:
            services = {"single": single, "one": one, "two": two}
            bodies = {name: _prepare(service, 4) for name, service in services.items()}
            alone = {name: partial(ask, services[name], MODEL, bodies[name], ALONE, 1) for name in ("single", "one")}
            taken = {name: total / ALONE for name, total in medians(alone, ROUNDS).items()}
            yield Figure("cluster: a request through Ray", "one machine", taken["one"], taken["single"], 1.5)
            yield Figure("cluster: Ray's hop, the difference", "5 ms", taken["one"] - taken["single"], 0.005, 1.0)
            loaded = {name: partial(ask, services[name], MODEL, bodies[name], REQUESTS) for name in ("one", "two")}
            taken = {name: total / REQUESTS for name, total in medians(loaded, ROUNDS).items()}
            yield Figure("cluster: two replicas, 64 callers", "one replica", taken["two"], taken["one"], 1 / 1.8)
        with _cluster(models, postgres, REPLICAS, MAX_RESIDENT_BYTES=str(FIT * ADAPTER_BYTES)) as tight:
            bodies = _prepare(tight, ADAPTERS)
            ask(tight, MODEL, bodies, WARM_UP)
            before = _loads(tight)
            taken_s = seconds(partial(ask, tight, MODEL, bodies, WARM_UP))
            share = 1 - (_loads(tight) - before) / WARM_UP
            note = f"random 25 %; {CALLERS} callers, {WARM_UP / taken_s:.0f} requests a second"
            yield Share(f"cluster: {ADAPTERS} adapters, {FIT} fit, {REPLICAS} replicas: warm", share, note, 0.9)


def _prepare(service: Service, adapters: int) -> list[bytes]:
    """Requests to so many adapters, each answered once."""
    host(service, MODEL)
    bodies = inject(service, MODEL, [f"a{number}" for number in range(adapters)])
    ask(service, MODEL, bodies, 2 * adapters, 4)
    return bodies


def _loads(service: Service) -> int:
    """Of all replicas, as any front counts them."""
    found = re.search(
        r"^adapter_service_adapter_loads_total\{[^}]*\} ([\d.e+]+)", service.http.get("/metrics").text, re.MULTILINE
    )
    assert found is not None, "the model is hosted"
    return int(float(found.group(1)))


@contextmanager
def _cluster(models: Path, postgres: Postgres, replicas: int, **settings: str) -> Generator[Service]:
    """One front, in a Ray of its own."""
    with TemporaryDirectory() as folder, postgres.database() as url:
        service = Service(Path(folder), models)
        service.environment |= {
            "ADAPTER_SERVICE_DATABASE_URL": url,
            "ADAPTER_SERVICE_MIGRATE": "true",
            "ADAPTER_SERVICE_BLOB_URL": f"file:{folder}/blobs",
            "RAY_USAGE_STATS_ENABLED": "0",
            **{f"ADAPTER_SERVICE_{name}": value for name, value in settings.items()},
        }
        counts = ("--cpus", str(CPUS), "--fronts", "1", "--replicas", str(replicas))
        try:
            yield service.start(("adapterctl", "cluster", "up", *counts)).wait_until_ready()
        finally:
            if service.is_running:
                service.ask_to_end()
                service.wait_for_the_end()
            service.close()
