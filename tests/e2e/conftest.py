"""One real service with both demo models for the whole suite; tests that end theirs start their own."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from databases import Postgres
from e2e.cluster.clusters import Cluster
from e2e.documents import README, blocks_of, run_block
from e2e.process import ROOT, Service

from service.demo.base_models import prepare_base_models


@pytest.fixture(scope="session")
def demo_models() -> Path:
    """The checkout's own, so that they are converted once and for all."""
    models = ROOT / "var" / "models"
    prepare_base_models(models)
    return models


@pytest.fixture(scope="session")
def service(
    request: pytest.FixtureRequest, ray_turn: None, demo_models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """Begun as `make run` does: the demo is seeded, then the service hosts what its registry holds. With `--cluster` it
    is two fronts and the models' replicas."""
    directory: Path = tmp_path_factory.mktemp("service")
    with ExitStack() as stack:
        if request.config.getoption("--cluster"):
            postgres: Postgres = request.getfixturevalue("postgres")
            service = Cluster(directory, demo_models, stack.enter_context(postgres.database()))
        else:
            service = Service(directory, demo_models)
        stack.callback(service.close)
        service.run("python -m service.demo")
        service.start().wait_until_ready()
        for model in service.http.get("/models").json()["items"]:
            service.wait_for_model(model["id"])
        yield service


@pytest.fixture(scope="session")
def http(service: Service) -> httpx.Client:
    return service.http


@pytest.fixture(scope="session")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the README's calls are pasted: like the checkout, it has the demo's files, and it may be written to."""
    directory = tmp_path_factory.mktemp("terminal")
    for name in ("service", ".venv"):
        (directory / name).symlink_to(ROOT / name)
    return directory


@pytest.fixture(scope="session")
def printed(service: Service, terminal: Path) -> list[str]:
    """What the README's calls and its snippet print, pasted as they stand; the service has their `pirate` then."""
    return [run_block(service, block, terminal) for block in blocks_of(README) if block.runs]
