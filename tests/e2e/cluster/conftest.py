"""One cluster for all tests that don't end parts of it: two fronts, a model with two replicas, and one that writes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from databases import Postgres
from e2e.cluster.clusters import Cluster
from e2e.replicas.pair import MODEL, SOURCE
from word_models import save, tiny_llama, word_tokenizer

WORDS = "words"
POSITIONS = 4096
"""A text of so many tokens takes longer than any test waits for."""


@pytest.fixture(scope="session")
def cluster(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    directory: Path = tmp_path_factory.mktemp("cluster")
    tokenizer = word_tokenizer()
    tokenizer.model_max_length = POSITIONS
    save(tiny_llama(positions=POSITIONS), tokenizer, directory / "models" / WORDS)
    with postgres.database() as url:
        cluster = Cluster(directory, directory / "models", url)
        try:
            cluster.start()
            for id, source, replicas in (
                (MODEL, SOURCE, 2),
                (WORDS, {"kind": "huggingface", "path": WORDS}, 1),
            ):
                resources = {"min_replicas": replicas, "max_replicas": replicas}
                body = {"id": id, "source": source, "resources": resources}
                assert cluster.http.post("/models", json=body).status_code == 202
            for id in (MODEL, WORDS):
                cluster.wait_for_model(id)
            yield cluster
        finally:
            cluster.close()
