"""A Ray that runs already, as on several machines: the service is started on it, and leaves it as it was."""

import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest
from databases import Postgres
from e2e.cluster.clusters import Cluster
from e2e.cluster.processes import ray_address
from e2e.process import BIN, until
from e2e.replicas.pair import MODEL, SOURCE, infer

from tests.support.ports import hold_port, number_of

pytestmark = pytest.mark.deep  # a real Ray


class OwnRay:
    """Started as an operator starts it on a machine, with the environment that the service is to have."""

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        # Short, because sockets' paths have a limit; and there it says which Ray runs, which is nobody else's matter.
        self._folder = tempfile.TemporaryDirectory(dir="/tmp", prefix="ray-", ignore_cleanup_errors=True)
        self._client = hold_port()
        options = (
            *("--head", "--block", "--disable-usage-stats", "--include-dashboard=false", "--num-cpus=8", "--port=0"),
            f"--ray-client-server-port={number_of(self._client)}",
            f"--temp-dir={self._folder.name}",
            *("--object-store-memory=100000000", "--dashboard-agent-listen-port=0"),
        )
        with log.open("wb") as written:
            command = (f"{BIN}/ray", "start", *options)
            self._process = subprocess.Popen(command, env=dict(environment), stdout=written, stderr=written)
        until(lambda: self.runs, lambda: self._process.poll() is None)

    @property
    def runs(self) -> bool:
        return "raylet" in {child.name() for child in psutil.Process(self._process.pid).children()}

    @property
    def address(self) -> str:
        return ray_address(self._process.pid)

    def end(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()
        self._client.close()
        self._folder.cleanup()


@pytest.fixture(scope="module")
def joining(ray_turn: None, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Not started yet."""
    directory = tmp_path_factory.mktemp("joining")
    with postgres.database() as url:
        cluster = Cluster(directory, directory / "models", url)
        cluster.environment["RAY_AUTH_MODE"] = "disabled"
        yield cluster
        cluster.close()


@pytest.fixture(scope="module")
def own(joining: Cluster) -> Iterator[OwnRay]:
    ray = OwnRay(joining.environment, joining.directory / "ray.log")
    yield ray
    ray.end()


def test_cluster_up_is_on_a_ray_that_runs_and_leaves_it(joining: Cluster, own: OwnRay) -> None:
    joining.start(("adapterctl", "cluster", "up", "--address", own.address, "--fronts", "1"))
    joining.register(MODEL, SOURCE)
    assert infer(joining, None).status_code == 200
    joining.ask_to_end()
    assert joining.wait_for_the_end() == 0
    assert own.runs


def test_serve_run_is_the_same_service(joining: Cluster, own: OwnRay) -> None:
    joining.run(f"serve start --address {own.address} --http-host 127.0.0.1 --http-port {joining.port}")
    joining.start(("serve", "run", "--address", own.address, "service.cluster.app:build", "fronts=1"))
    joining.wait_for_model(MODEL)
    assert infer(joining, None).status_code == 200
    joining.ask_to_end(signal.SIGINT)
    joining.wait_for_the_end()
    assert own.runs
