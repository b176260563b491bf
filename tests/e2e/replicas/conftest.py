"""Two real services on one Postgres and one blob store, for all these tests."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from databases import Postgres
from e2e.process import Service, until
from e2e.replicas.pair import MODEL, SOURCE, Pair


@pytest.fixture(scope="session")
def replicas_url(postgres: Postgres) -> Iterator[str]:
    """An empty database: the two have to agree about who migrates it."""
    with postgres.database() as url:
        yield url


@pytest.fixture(scope="session")
def pair(replicas_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    blobs: Path = tmp_path_factory.mktemp("blobs")
    pair = Pair(*(Service(tmp_path_factory.mktemp(name), blobs / "no-models") for name in ("one", "other")))
    try:
        for service in pair:
            service.environment["ADAPTER_SERVICE_DATABASE_URL"] = replicas_url
            service.environment["ADAPTER_SERVICE_MIGRATE"] = "true"
            service.environment["ADAPTER_SERVICE_BLOB_URL"] = f"file:{blobs}"
            # Keys that tests make don't shut out those that send none.
            service.environment["ADAPTER_SERVICE_ALLOW_ANONYMOUS"] = "admin"
        with ThreadPoolExecutor(2) as starters:
            list(starters.map(Service.start_preloaded, pair))
        pair.one.register(MODEL, SOURCE)
        until(lambda: pair.other.http.get(f"/models/{MODEL}").json()["state"] == "ready")
        yield pair
    finally:
        for service in pair:
            service.close()
