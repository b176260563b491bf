"""How many cores this machine, or its container, gives us."""

import math
import os
from pathlib import Path

CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable_cores(quota: Path = CPU_QUOTA) -> int:
    """Those that this process may run on, no more than its container may use, nor than `OMP_NUM_THREADS` says."""
    cores = len(os.sched_getaffinity(0))
    if quota.exists():
        allowed, period = quota.read_text().split()
        cores = cores if allowed == "max" else min(cores, math.ceil(int(allowed) / int(period)))
    wish = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]  # one number a level of nesting
    return max(1, min(cores, int(wish)) if wish.isdecimal() else cores)
