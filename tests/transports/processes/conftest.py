import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from service.transports.processes.environment import host_environment
from service.transports.processes.fork_server import ForkServer
from service.transports.processes.host_process import HostProcess
from service.transports.processes.launch import Launch, Launcher
from service.transports.processes.spawner import Spawner

PATIENCE_S = 60.0
SECRETS = {
    "ADAPTER_SERVICE_ADMIN_KEY": "secret-of-the-admin",
    "ADAPTER_SERVICE_DATABASE_URL": "postgresql://user:secret-of-the-database@host/name",
    "PGPASSWORD": "secret-of-postgres",
    "AWS_SECRET_ACCESS_KEY": "secret-of-the-bucket",
    "HF_TOKEN": "secret-of-the-hub",
    "SOMEBODYS_TOKEN": "secret-of-somebody",
}

Start = Callable[..., HostProcess]


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    """Begun while this process's environment holds secrets."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SECRETS.items():
            patch.setenv(name, value)
        server = ForkServer((), host_environment(os.environ))
        server.start()
    yield server
    server.close()


@pytest.fixture
def spawner(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spawner]:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    spawner = Spawner(host_environment(os.environ))
    yield spawner
    spawner.close()


@pytest.fixture(params=["fork", "spawn"])
def launcher(request: pytest.FixtureRequest) -> Launcher:
    return request.getfixturevalue("fork_server" if request.param == "fork" else "spawner")


@pytest.fixture
def start(fork_server: ForkServer) -> Iterator[Start]:
    """Starts a host that runs one of `entries.py`; it has ended once the test has."""
    started: list[HostProcess] = []

    def start(entry: str, order: bytes = b"", **more: Any) -> HostProcess:
        started.append(fork_server.launch(launch_of(entry, order, **more)))
        return started[-1]

    yield start
    for process in started:
        end(process)


def launch_of(entry: str, order: bytes = b"", **more: Any) -> Launch:
    return Launch(f"tests.transports.processes.entries:{entry}", order, **more)


def answer_of(process: HostProcess) -> str:
    """All that it sends until it closes its end."""
    return b"".join(iter(lambda: process.socket.recv(65_536), b"")).decode()


def end(process: HostProcess) -> None:
    process.kill()
    process.socket.close()
    assert process.wait(PATIENCE_S)
