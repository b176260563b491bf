import os
from pathlib import Path

import pytest

from service.transports.processes.cores import usable_cores


@pytest.fixture(autouse=True)
def machine_of_eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


@pytest.mark.parametrize(
    ("quota", "usable"),
    [("max 100000", 8), ("250000 100000", 3), ("1600000 100000", 8), ("1000 100000", 1), (None, 8)],
)
def test_a_containers_quota_counts_as_so_many_cores(tmp_path: Path, quota: str | None, usable: int) -> None:
    if quota is not None:
        (tmp_path / "cpu.max").write_text(f"{quota}\n")
    assert usable_cores(tmp_path / "cpu.max") == usable


@pytest.mark.parametrize(("wish", "usable"), [("2", 2), ("4,2", 4), ("16", 8), ("0", 1), ("", 8), ("many", 8)])
def test_an_operators_number_of_threads_is_not_exceeded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wish: str, usable: int
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", wish)
    assert usable_cores(tmp_path / "cpu.max") == usable
