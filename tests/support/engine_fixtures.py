"""Fixtures of tests that speak to an engine: a conftest.py imports those that its folder uses."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from databases import write_migrated
from engines import Running, Start
from gated import GATES, Gate, gate_named

from service.protocol.types import HostLimits


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts engines on one registry, and closes them at the end."""
    write_migrated(tmp_path / "registry.db")
    running: list[Running] = []

    def start(limits: HostLimits | None = None) -> Running:
        running.append(Running(tmp_path, limits))
        return running[-1]

    yield start
    for gate in GATES.values():
        gate.open()
    GATES.clear()
    for one in running:
        one.close()


@pytest.fixture
def running(start: Start) -> Running:
    return start()


@pytest.fixture
def gate(request: pytest.FixtureRequest) -> Gate:
    """This test's own gate, under the test's name."""
    return gate_named(request.node.name)
