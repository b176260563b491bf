"""The memory that a host may count on, in and outside of a container."""

from pathlib import Path

import psutil
import pytest

from service.host.memory_limit import usable_memory

MACHINE = psutil.virtual_memory().total


def system(root: Path, cgroup: str, limits: dict[str, str]) -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(cgroup)
    for path, limit in limits.items():
        file = root / "sys/fs/cgroup" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{limit}\n")
    return root


def test_a_machine_without_control_groups_has_all_of_its_memory(tmp_path: Path) -> None:
    assert usable_memory(tmp_path) == MACHINE


@pytest.mark.parametrize(
    ("cgroup", "limits"),
    [
        pytest.param("0::/\n", {"memory.max": "1000"}, id="a container's root, version 2"),
        pytest.param("0::/pod/one\n", {"pod/one/memory.max": "1000", "pod/memory.max": "max"}, id="version 2"),
        pytest.param("0::/pod/one\n", {"pod/one/memory.max": "max", "pod/memory.max": "1000"}, id="a group above"),
        pytest.param("0::/pod/one\n", {"memory.max": "1000"}, id="groups above that can't be seen"),
        pytest.param("4:memory:/pod\n0::/\n", {"memory/pod/memory.limit_in_bytes": "1000"}, id="version 1"),
        pytest.param(
            "4:cpu,memory:/pod\n", {"memory/pod/memory.limit_in_bytes": "2000", "memory/memory.limit_in_bytes": "1000"},
            id="version 1, the smallest",
        ),
    ],
)  # fmt: skip
def test_a_limit_of_a_control_group_is_all_that_there_is(tmp_path: Path, cgroup: str, limits: dict[str, str]) -> None:
    assert usable_memory(system(tmp_path, cgroup, limits)) == 1000


def test_a_limit_beyond_the_machine_is_none(tmp_path: Path) -> None:
    none = {"memory.max": "max", "memory/memory.limit_in_bytes": "9223372036854771712"}
    assert usable_memory(system(tmp_path, "4:memory:/\n0::/\n", none)) == MACHINE


def test_this_machine_has_some() -> None:
    assert 0 < usable_memory() <= MACHINE
