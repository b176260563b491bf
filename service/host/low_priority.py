"""Work that gives way to other hosts on the same cores: building a model while they answer."""

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, TypeVar

T = TypeVar("T")

NICENESS: Final = 10
"""Linux gives such a thread about a tenth of a core that another thread wants."""
LOWEST: Final = 19


def run_with_low_priority(work: Callable[[], T]) -> T:
    """What `work` returns or raises. Threads that it starts have the low priority too, and keep it.

    It runs in a thread that ends with it, because without privileges a thread can't raise its priority again. Where the
    system gives threads no priority of their own, `work` simply runs.
    """
    if sys.platform != "linux":
        return work()
    done: Future[T] = Future()

    def run() -> None:
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, min(LOWEST, os.getpriority(os.PRIO_PROCESS, thread) + NICENESS))
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=run, name="low priority", daemon=True).start()
    return done.result()
