from pathlib import Path

import pytest

from service.transports.processes.fork_server import ForkServer
from service.transports.processes.launchers import open_launcher
from service.transports.processes.spawner import Spawner


@pytest.mark.parametrize(
    ("device", "has_gpu", "launcher"),
    [
        ("cpu", True, ForkServer),
        ("auto", False, ForkServer),
        ("auto", True, Spawner),
        ("cuda", True, Spawner),
        ("cuda:1", False, Spawner),
    ],
)
def test_hosts_are_spawned_where_they_may_use_cuda(
    tmp_path: Path, device: str, has_gpu: bool, launcher: type[ForkServer | Spawner]
) -> None:
    driver = tmp_path / "driver"
    if has_gpu:
        driver.touch()
    assert isinstance(open_launcher(device, (), {}, [driver]), launcher)
