"""The real app over its ASGI interface: what a caller sees, without a socket."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from apps import Start, host, settings_in
from starlette.testclient import TestClient

from service import cli, command_settings
from service.bootstrap import create_app
from service.host import model_host


@pytest.fixture(scope="session", autouse=True)
def patient() -> Iterator[None]:
    """What waits a second for a model's thread waits for as long as a busy machine takes: else an adapter that is made
    may not be resident yet, or one that is unloaded still be. A test that holds the thread up on purpose waits less."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_host, "PATIENCE_S", 60.0)
        yield


@pytest.fixture
def quiet_cli(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Commands that run in this process leave its log and its environment as they are, and read nobody's own file."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(command_settings, "start_log", lambda *_, **__: None)
    monkeypatch.setattr(cli, "adopt_loggers", lambda *_: None)
    monkeypatch.setattr(cli, "quiet_libraries", lambda: None)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start an app with settings of the test's own, always in the same directory, so that the next one is a restart."""
    with ExitStack() as stack:
        yield lambda **others: stack.enter_context(TestClient(create_app(settings_in(tmp_path, **others))))


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """One app for all the tests of a file: `mlp` and `dummy` are hosted, adapters have names of their own.

    Not one for the session: which files then share a name depends on how they fall to the workers."""
    with TestClient(create_app(settings_in(tmp_path_factory.mktemp("service")))) as client:
        host(client, "mlp", "bases:mlp")
        host(client, "dummy", "bases:dummy")
        yield client
