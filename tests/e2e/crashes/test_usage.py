"""What was used, over the ends of a service: all of it after one that is asked for, all but the last seconds after a
kill, and nothing twice."""

import signal
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from e2e.crashes.serve import DIE_AT
from e2e.process import Service, until

from models_registry.storage.database import open_database
from models_registry.usage import Usage
from models_registry.usage_records import UsageQuestion

MODEL, SOURCE = "mlp", {"kind": "python", "factory": "bases:mlp"}
MORTAL = "e2e.crashes.serve:main"
pytestmark = pytest.mark.parametrize(
    "dialect", ["sqlite", pytest.param("postgres", marks=pytest.mark.deep)], indirect=True
)


@pytest.fixture
def service(database_url: str, tmp_path: Path) -> Iterator[Service]:
    directory = tmp_path / "service"
    directory.mkdir()
    service = Service(directory, tmp_path / "no-models")
    service.environment["ADAPTER_SERVICE_DATABASE_URL"] = database_url
    service.start_preloaded(MORTAL).register(MODEL, SOURCE)
    yield service
    service.close()


def ask(service: Service, times: int) -> None:
    for _ in range(times):
        answer = service.http.post(f"/models/{MODEL}/infer", json={"inputs": {"x": [[1.0, 2.0, 3.0, 4.0]]}})
        assert answer.status_code == 200, answer.text


def counted(service: Service) -> int:
    (total,) = service.http.get("/usage").json()["items"]
    return total["requests"]


def test_an_end_loses_nothing_and_a_kill_only_what_was_being_added(service: Service) -> None:
    ask(service, 10)
    service.ask_to_end()
    assert service.wait_for_the_end() == 0
    service.start_preloaded(MORTAL).wait_until_ready()
    assert counted(service) == 10
    (service.directory / DIE_AT).write_text("INSERT INTO usage")  # behind its mark, before the commit
    ask(service, 1)
    assert service.wait_for_the_end() == -signal.SIGKILL
    (service.directory / DIE_AT).unlink()
    service.start_preloaded(MORTAL).wait_until_ready()
    assert counted(service) == 10
    ask(service, 3)
    assert counted(service) == 13


def test_a_kill_loses_nothing_that_is_in_the_database(service: Service, database_url: str) -> None:
    ask(service, 10)
    with closing(open_database(database_url)) as database:
        usage = Usage(database)

        def is_stored() -> bool:
            sums = usage.read(UsageQuestion(), datetime.now(UTC), "nobody", ())
            return bool(sums) and sums[()].requests == 10

        until(is_stored)
    ask(service, 5)
    service.kill()
    service.start_preloaded(MORTAL).wait_until_ready()
    assert 10 <= counted(service) <= 15
