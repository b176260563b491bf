"""What inference asks of the registry while nothing changes: nothing. Postgres itself counts, for the real service."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import psycopg
from sqlalchemy import make_url

from tests.bench.client import post_all
from tests.bench.figures import Count
from tests.e2e.process import Service
from tests.support.databases import HASTY, postgres_server

COUNTING = {**HASTY, "shared_preload_libraries": "pg_stat_statements"}
REQUESTS, CALLERS, ADAPTERS = 1000, 16, 8
LORA = {"peft_type": "LORA", "r": 2, "target_modules": ["first", "second"], "init_lora_weights": False}
GENERATION = "X-Registry-Generation"
COUNTED = """
SELECT coalesce(sum(calls) FILTER (WHERE query LIKE 'SELECT generation.value%%'), 0),
       coalesce(sum(calls) FILTER (WHERE query NOT LIKE 'SELECT generation.value%%'), 0)
FROM pg_stat_statements JOIN pg_database ON pg_database.oid = dbid
WHERE datname = %s AND query ~ '^(SELECT|INSERT|UPDATE|DELETE)'
"""


def asking(_: Path) -> Iterator[Count]:
    """Statements of 1,000 requests to 8 adapters, the watcher's own looks aside."""
    with ExitStack() as stack:
        server = stack.enter_context(postgres_server(COUNTING))
        url = stack.enter_context(server.database())
        statistics = stack.enter_context(psycopg.connect(server.url("postgres"), autocommit=True))
        statistics.execute("CREATE EXTENSION pg_stat_statements")
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        service = stack.enter_context(closing(Service(folder, folder / "no-models")))
        service.environment |= {"ADAPTER_SERVICE_DATABASE_URL": url, "ADAPTER_SERVICE_MIGRATE": "true"}
        bodies = _prepare(service.start())
        post_all(service.port, "/models/mlp/infer", bodies, CALLERS, ADAPTERS)
        statistics.execute("SELECT pg_stat_statements_reset()")
        post_all(service.port, "/models/mlp/infer", bodies, CALLERS, REQUESTS)
        [(looks, others)] = statistics.execute(COUNTED, (make_url(url).database,)).fetchall()
        yield Count(f"SQL statements of {REQUESTS} inferences", int(others), 0, f"beside {looks} looks of the watcher")


def _prepare(service: Service) -> list[bytes]:
    """A request to each adapter."""
    service.register("mlp", {"kind": "python", "factory": "bases:mlp"})
    for number in range(ADAPTERS):
        body = {"name": f"a{number}", "config": LORA, "seed": number}
        made = service.http.post("/models/mlp/adapters", json=body).raise_for_status()
        # Passed back, so that nothing is left to be noticed.
        service.http.get("/models/mlp", headers={GENERATION: made.headers[GENERATION]}).raise_for_status()
    return [
        json.dumps({"adapter": f"a{number}", "inputs": {"x": [[1.0, 2.0, 3.0, 4.0]]}}).encode()
        for number in range(ADAPTERS)
    ]
