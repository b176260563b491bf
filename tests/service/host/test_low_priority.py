import os
import threading

import pytest

from service.host.low_priority import LOWEST, NICENESS, run_with_low_priority


def niceness() -> tuple[int, int]:
    """Of the thread that asks and of the process's first one."""
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id()), os.getpriority(os.PRIO_PROCESS, os.getpid())


def test_only_the_work_itself_gives_way() -> None:
    _, before = niceness()
    assert run_with_low_priority(niceness) == (min(LOWEST, before + NICENESS), before)
    assert niceness() == (before, before)


def test_what_the_work_raises_reaches_its_caller() -> None:
    def fail() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit, match="3"):
        run_with_low_priority(fail)
