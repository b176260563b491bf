"""Code of somebody else's that may never end, on a thread that is made to."""

import ctypes
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def within(seconds: float, work: Callable[[], T]) -> T:
    """What `work` returns or raises. Raises `TimeoutError` where it takes longer; its thread then ends at its next
    step in Python. One that is in a single long call into C goes on until that returns."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # the waiting caller gets it; none waits for one that was ended
            errors.append(error)

    thread = threading.Thread(target=run, name="bounded work", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        _end(thread)
        raise TimeoutError(f"It took more than {seconds:g} s.")
    if errors:
        raise errors[0]
    return results[0]


def _end(thread: threading.Thread) -> None:
    # Nothing but this thread's own work can be hit: it does nothing else, before or after.
    assert thread.ident is not None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit))
