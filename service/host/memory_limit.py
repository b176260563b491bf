"""How much memory this process's machine, or the container that it is in, has."""

from collections.abc import Iterator
from pathlib import Path

import psutil

V1, V2 = "memory.limit_in_bytes", "memory.max"


def usable_memory(root: Path = Path("/")) -> int:
    """Bytes: the machine's, or fewer where a control group of this process (version 1 or 2) or one above it has a
    limit, as a container's has. `root` holds `proc` and `sys`."""
    return min([psutil.virtual_memory().total, *_limits(root)])


def _limits(root: Path) -> Iterator[int]:
    for file in _files(root):
        try:
            text = file.read_text().strip()
        except OSError:  # the root group has none, and in a container the groups above it can't be seen
            continue
        if text.isdecimal():  # "max" is none
            yield int(text)


def _files(root: Path) -> Iterator[Path]:
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # there is no such thing on this system
        return
    groups = root / "sys/fs/cgroup"
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers or "memory" in controllers.split(","):
            top, name = (groups / "memory", V1) if controllers else (groups, V2)
            inner = top / path.lstrip("/")
            for group in (inner, *inner.parents):
                if group.is_relative_to(top):
                    yield group / name
