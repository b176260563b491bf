"""Which launcher this machine's hosts need."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from service.transports.processes.fork_server import ForkServer
from service.transports.processes.launch import Launcher
from service.transports.processes.spawner import Spawner

GPU_DRIVERS = (Path("/dev/nvidiactl"), Path("/dev/dxg"), Path("/dev/kfd"))
"""NVIDIA's, the same under WSL, AMD's. torch would tell too, but asking it makes this process one that CUDA runs in."""


def open_launcher(
    device: str, preload: Sequence[str], environment: Mapping[str, str], drivers: Sequence[Path] = GPU_DRIVERS
) -> Launcher:
    """`device` as in the settings. Starts nothing. Raises `Unavailable` where this system can't keep hosts apart."""
    if device.startswith("cuda") or (device == "auto" and any(driver.exists() for driver in drivers)):
        return Spawner(environment)
    return ForkServer(preload, environment)
