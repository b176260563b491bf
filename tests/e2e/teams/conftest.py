"""The same service twice, for all these tests: one process on SQLite, and two that share a Postgres."""

from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from databases import DIALECTS, Postgres
from e2e.cluster.clusters import Cluster
from e2e.gate import Turnstile
from e2e.process import PATIENCE_S, Service
from e2e.teams.two_teams import ADMIN, MAX_QUEUE, TURNED, WORDS, House
from word_models import save, tiny_llama, word_tokenizer

CLUSTER = "cluster"
MEMORY = 4 << 20
"""For adapters, of each model."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """With `--cluster` the one service is a cluster."""
    if "shared_house" in metafunc.fixturenames:
        forms = (CLUSTER,) if metafunc.config.getoption("--cluster") else DIALECTS
        metafunc.parametrize("shared_house", forms, indirect=True, scope="session")


@pytest.fixture(scope="session")
def shared_house(
    request: pytest.FixtureRequest, ray_turn: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    root: Path = tmp_path_factory.mktemp("teams")
    save(tiny_llama(), word_tokenizer(), root / "models" / WORDS)
    with ExitStack() as stack:
        urls: Sequence[str | None] = [None]
        if request.param != "sqlite":
            postgres: Postgres = request.getfixturevalue("postgres")
            urls = [stack.enter_context(postgres.database())] * (1 if request.param == CLUSTER else 2)
        doors = [_service(root, number, url, request.param == CLUSTER) for number, url in enumerate(urls)]
        for door in doors:
            stack.callback(door.close)
        with ThreadPoolExecutor(len(doors)) as starters:
            list(starters.map(lambda door: door.start_preloaded(), doors))
        (root / "turnstile").mkdir()
        house = House(doors, Turnstile(root / "turnstile"))
        house.turnstile.open()
        _host(house, root)
        yield house


@pytest.fixture
def closed(shared_house: House) -> Generator[House]:
    """Each forward of the turned model waits until it may pass; in the end all that wait do."""
    shared_house.turnstile.close()
    try:
        yield shared_house
    finally:
        shared_house.turnstile.open()


def _service(root: Path, number: int, url: str | None, is_cluster: bool) -> Service:
    directory = root / f"process-{number}"
    directory.mkdir()
    models = root / "models"
    service = Cluster(directory, models, url) if is_cluster and url else Service(directory, models)
    service.environment |= {
        "ADAPTER_SERVICE_FACTORIES": "e2e.gate:turned_forward",
        "ADAPTER_SERVICE_ADMIN_KEY": ADMIN["x-api-key"],
        "ADAPTER_SERVICE_MAX_QUEUE": str(MAX_QUEUE),
        "ADAPTER_SERVICE_MAX_RESIDENT_BYTES": str(MEMORY),
        "ADAPTER_SERVICE_BLOB_URL": f"file:{root / 'blobs'}",
    }
    if url is not None:
        service.environment |= {"ADAPTER_SERVICE_DATABASE_URL": url, "ADAPTER_SERVICE_MIGRATE": "true"}
    return service


def _host(house: House, root: Path) -> None:
    kwargs = {"turnstile": str(root / "turnstile")}
    sources = {
        TURNED: {"kind": "python", "factory": "e2e.gate:turned_forward", "kwargs": kwargs},
        WORDS: {"kind": "huggingface", "path": str(root / "models" / WORDS)},
    }
    first = house.doors[0].http
    for model, source in sources.items():
        answer = first.post("/models", params={"wait": PATIENCE_S}, json={"id": model, "source": source}, headers=ADMIN)
        assert answer.status_code == 201, answer.text
    for door in house.doors:
        admin = house.admin.at(door)
        for model in sources:
            house.until_known(lambda a=admin, m=model: a.send("GET", f"/models/{m}").json().get("state"), "ready")
