"""A function that takes turns with its caller: it runs on a thread of its own, but never at the same time."""

import threading
from collections.abc import Callable
from typing import Final


class Turns:
    """The turns of `function`, which gives each back with `pass_on`. What belongs to a thread, such as a routing, stays
    its own."""

    def __init__(self, function: Callable[[], None], name: str) -> None:
        self._function: Final = function
        self._given = threading.Semaphore(0)
        self._given_back = threading.Semaphore(0)
        self._error: BaseException | None = None
        self._is_over = False
        # As with the thread that gives the turns: a forward that never ends must not keep the process alive.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def resume(self) -> bool:
        """Let it run until it gives the turn back or ends. Returns whether it has more to do; raises what it raised."""
        if self._thread.ident is None:
            self._thread.start()
        self._given.release()
        self._given_back.acquire()
        if self._is_over:
            self._thread.join()
        if self._error is not None:
            raise self._error
        return not self._is_over

    def pass_on(self) -> None:
        """Inside the function: give the turn back, and return with the next."""
        self._given_back.release()
        self._given.acquire()

    def _run(self) -> None:
        self._given.acquire()
        try:
            self._function()
        except BaseException as error:  # `resume` raises it
            self._error = error
        finally:
            self._is_over = True
            self._given_back.release()
