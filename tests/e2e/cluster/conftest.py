"""One cluster for all tests: two fronts, a model with two replicas, and one that writes. Who ends parts of it waits
until they are there again."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from databases import Postgres
from e2e.cluster.clusters import Cluster
from e2e.replicas.pair import MODEL, SOURCE
from stores import S3Server
from word_models import save, tiny_llama, word_tokenizer

WORDS = "words"
POSITIONS = 4096
"""A text of so many tokens takes longer than any test waits for."""
FORWARD_S = 10
"""After so long a host is stuck."""


@pytest.fixture(scope="session")
def cluster(
    ray_turn: None, postgres: Postgres, s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    directory: Path = tmp_path_factory.mktemp("cluster")
    tokenizer = word_tokenizer()
    tokenizer.model_max_length = POSITIONS
    save(tiny_llama(positions=POSITIONS), tokenizer, directory / "models" / WORDS)
    with postgres.database() as url:
        cluster = Cluster(directory, directory / "models", url)
        cluster.environment |= {
            **s3_server.environment,
            "ADAPTER_SERVICE_BLOB_URL": s3_server.new_url(),
            "ADAPTER_SERVICE_FACTORIES": f"{cluster.environment['ADAPTER_SERVICE_FACTORIES']},e2e.cluster.victims:*",
            "ADAPTER_SERVICE_FORWARD_TIMEOUT": str(FORWARD_S),
            "ADAPTER_SERVICE_SCALE_UP_AFTER": "2",
            "ADAPTER_SERVICE_SCALE_DOWN_AFTER": "2",
            # Keys that tests make don't shut out those that send none.
            "ADAPTER_SERVICE_ALLOW_ANONYMOUS": "admin",
        }
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
