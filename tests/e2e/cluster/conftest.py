"""One cluster for all tests that don't end parts of it: two fronts, a model with two replicas."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from databases import Postgres
from e2e.cluster.clusters import Cluster
from e2e.replicas.pair import MODEL, SOURCE


@pytest.fixture(scope="session")
def cluster(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    directory: Path = tmp_path_factory.mktemp("cluster")
    with postgres.database() as url:
        cluster = Cluster(directory, directory / "no-models", url, replicas=2)
        try:
            cluster.start()
            cluster.register(MODEL, SOURCE)
            yield cluster
        finally:
            cluster.close()
