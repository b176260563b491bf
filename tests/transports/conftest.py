"""Hosts over every transport: a test that takes `start_host`, `host` or `blobs` runs once for each; with `--cluster`
over Ray alone."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from models_registry.errors import Unavailable
from models_registry.storage.blobs import BlobStore, open_blob_store
from service.protocol.host import ModelHost, Transport
from service.transports.local_process import PRELOADED
from service.transports.processes.environment import host_environment
from service.transports.processes.launch import Launcher
from service.transports.processes.launchers import open_launcher
from tests.transports.hosts import TRANSPORTS, Gate, build, order

StartHost = Callable[[], ModelHost]
HERE = Path(__file__).parent
RAY = "ray_actor"
NOT_ON_RAY = {
    # Its answers may overtake each other on their way.
    "test_a_team_that_asks_more_waits_longer_and_no_other_does",
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "transport" in metafunc.fixturenames:
        names = (RAY,) if metafunc.config.getoption("--cluster") else tuple(TRANSPORTS)
        metafunc.parametrize("transport", names, indirect=True, scope="module")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With `--cluster`, what isn't part of the contract stays away, and what Ray doesn't promise."""
    if config.getoption("--cluster"):
        away = [item for item in items if HERE in item.path.parents and not _is_for_ray(item)]
        config.hook.pytest_deselected(items=away)
        items[:] = [item for item in items if item not in away]


def _is_for_ray(item: pytest.Item) -> bool:
    is_of_contract = isinstance(item, pytest.Function) and "transport" in item.fixturenames
    return is_of_contract and item.name.partition("[")[0] not in NOT_ON_RAY


@pytest.fixture(scope="module")
def blob_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"file:{tmp_path_factory.mktemp('blobs')}"


@pytest.fixture(scope="module")
def blobs(blob_url: str) -> BlobStore:
    return open_blob_store(blob_url)


@pytest.fixture(scope="session")
def host_launcher() -> Iterator[Launcher]:
    """One for all files, because its imports take seconds. Begins with the first host."""
    launcher = open_launcher("cpu", PRELOADED, host_environment(os.environ))
    yield launcher
    launcher.close()


@pytest.fixture(scope="module")
def transport(request: pytest.FixtureRequest, blob_url: str, host_launcher: Launcher) -> Iterator[Transport]:
    if request.param != RAY:
        yield TRANSPORTS[request.param](blob_url, host_launcher)
        return
    request.getfixturevalue("real_ray")
    from tests.transports.on_ray import OnRay

    transport = OnRay(blob_url, TRANSPORTS["local_process"](blob_url, host_launcher))
    yield transport
    transport.close()


@pytest.fixture
def start_host(transport: Transport) -> Iterator[StartHost]:
    """Starts hosts that haven't opened anything, and ends them."""
    started: list[ModelHost] = []

    def start() -> ModelHost:
        started.append(transport.start("m"))
        return started[-1]

    yield start
    for host in started:
        host.end(Unavailable("The test is over."))


@pytest.fixture
def host(start_host: StartHost) -> ModelHost:
    """Of `bases:mlp`, built."""
    return build(start_host(), order())


@pytest.fixture
def gate(start_host: StartHost, tmp_path: Path) -> Iterator[Gate]:
    """Opened before its hosts are ended."""
    gate = Gate(tmp_path)
    yield gate
    gate.open()


@pytest.fixture
def gated_host(start_host: StartHost, gate: Gate) -> ModelHost:
    """Its forwards pass the gate."""
    return build(start_host(), order("bases:waiting", folder=str(gate.folder)))
