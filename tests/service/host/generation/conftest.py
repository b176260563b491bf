"""A host that writes, for the tests of its engine."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from writing import WritingHost

from models_registry.errors import Conflict
from service.protocol.types import BASE, Selection
from tests.service.host.generation.steps import Steps


@pytest.fixture
def writing(tmp_path: Path) -> Iterator[WritingHost]:
    writing = WritingHost(tmp_path)
    yield writing
    writing.host.end(Conflict("the test is over"))


@pytest.fixture
def adapters(writing: WritingHost) -> tuple[Selection, ...]:
    return (BASE, *(writing.adapter(name, seed) for seed, name in enumerate("xyz")))


@pytest.fixture
def steps(writing: WritingHost, monkeypatch: pytest.MonkeyPatch) -> Iterator[Steps]:
    writing.write("a", max_new_tokens=1)  # the proof has decoded by then
    steps = Steps(monkeypatch)
    yield steps
    steps.let_go()
