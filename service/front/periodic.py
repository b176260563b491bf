"""Work that is done again and again in a thread of its own, and once more at the end."""

import logging
import threading
from collections.abc import Callable

from models_registry.errors import Unavailable

log = logging.getLogger(__name__)

JOIN_S = 5.0


class Periodic:
    """Constructing it starts nothing."""

    def __init__(self, name: str, period_s: float, *work: Callable[[], object]) -> None:
        self._period_s = period_s
        self._work = work
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Do the work once more, and end. Waits some seconds for work that hangs."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(JOIN_S)

    def _run(self) -> None:
        while not self._stopped.wait(self._period_s):
            self._do_all()
        self._do_all()

    def _do_all(self) -> None:
        for do in self._work:
            try:
                do()
            except Unavailable as error:  # of a database that is away: nothing of ours is wrong
                log.warning("%s: done later, because it failed: %s", self._thread.name, error.detail)
            except Exception:  # without this thread nothing would be done any more, in silence
                log.exception("%s failed", self._thread.name)
