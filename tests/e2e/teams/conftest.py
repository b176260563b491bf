"""The same service twice, for all these tests: one process on SQLite, and two that share a Postgres."""

from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from databases import DIALECTS, Postgres
from e2e.gate import Turnstile
from e2e.process import PATIENCE_S, Service, until
from e2e.teams.two_teams import ADMIN, MAX_QUEUE, TURNED, WORDS, House
from word_models import save, tiny_llama, word_tokenizer

MEMORY = 4 << 20
"""For adapters, of each model."""


@pytest.fixture(scope="session", params=DIALECTS)
def shared_house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    root: Path = tmp_path_factory.mktemp("teams")
    save(tiny_llama(), word_tokenizer(), root / "models" / WORDS)
    with ExitStack() as stack:
        urls: Sequence[str | None] = [None]
        if request.param == "postgres":
            postgres: Postgres = request.getfixturevalue("postgres")
            urls = [stack.enter_context(postgres.database())] * 2
        doors = [_service(root, number, url) for number, url in enumerate(urls)]
        for door in doors:
            stack.callback(door.close)
        with ThreadPoolExecutor(len(doors)) as starters:
            list(starters.map(Service.start, doors))
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


def _service(root: Path, number: int, url: str | None) -> Service:
    directory = root / f"process-{number}"
    directory.mkdir()
    service = Service(directory, root / "models")
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
        for model in sources:
            until(lambda d=door, m=model: d.http.get(f"/models/{m}", headers=ADMIN).json().get("state") == "ready")
