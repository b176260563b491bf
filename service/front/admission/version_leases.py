"""Which requests use which adapter versions, from admission to answer. What is being removed waits.

A lease is its request's future: whatever ends it (an answer, an error, a caller who left) releases the versions.
"""

import threading
import time
from collections.abc import Collection, Generator
from concurrent.futures import Future
from contextlib import contextmanager

from models_registry.errors import Conflict, Unavailable
from models_registry.records import AdapterVersion
from service.protocol.types import HostAnswer


class VersionLeases:
    def __init__(self) -> None:
        self._admission = threading.Lock()
        self._held: dict[Future[HostAnswer], tuple[AdapterVersion, ...]] = {}
        self._leaving: list[str] = []
        self.stopping = False

    @contextmanager
    def admission(self) -> Generator[tuple[str, ...]]:
        """Inside, nothing begins to be removed: to resolve a reference, to hand the request over and to hold what it
        means is one step. Gives the adapters (`tone`) and versions (`tone@3`) that are being removed, which are to be
        answered as if they were gone. Raises `Unavailable` once the service stops."""
        with self._admission:
            if self.stopping:
                raise Unavailable("The service is shutting down; ask another instance.")
            yield tuple(self._leaving)

    def hold(self, future: Future[HostAnswer], versions: tuple[AdapterVersion, ...]) -> None:
        """Until `future` is done. Inside `admission`."""
        self._held[future] = versions
        future.add_done_callback(self._held.pop)

    def settled(self) -> None:
        """Return once every request that resolved before this call has been handed over."""
        with self._admission:
            pass

    def in_use(self) -> frozenset[str]:
        """The keys of the versions that requests use."""
        return frozenset(version.key for held in self._held.copy().values() for version in held)

    @contextmanager
    def none_holds(self, leaving: str, patience_s: float = 0.0) -> Generator[None]:
        """Nobody holds the adapter (`tone`) or the version (`tone@3`) and nobody gets hold of it inside the `with`: new
        requests are answered as if it were gone. Raises `Conflict` while it is in use, or if it still is after
        `patience_s`."""
        with self._admission:
            holders = self._holders(leaving)
            if holders and not patience_s:
                raise Conflict(f"{leaving!r} is in use by {len(holders)} requests; try again when they are done.")
            self._leaving.append(leaving)
        try:
            if running := _still_running(holders, patience_s):
                raise Conflict(
                    f"{leaving!r} is still in use by {running} requests after {patience_s:g} s; nothing was changed. "
                    "Try again when they are done."
                )
            yield
        finally:
            with self._admission:
                self._leaving.remove(leaving)

    def refuse(self) -> None:
        """Admit nothing more, answering `Unavailable`."""
        with self._admission:
            self.stopping = True

    def wait(self, timeout_s: float) -> None:
        """Return when every admitted request is done, or after `timeout_s`."""
        with self._admission:
            held = self._held.copy()
        _still_running(held, timeout_s)

    def _holders(self, name: str) -> list[Future[HostAnswer]]:
        """The requests that hold the adapter or the version of that name."""
        held = self._held.copy()  # in one go: what is done leaves without asking
        return [future for future, versions in held.items() if any(name in {v.adapter, v.reference} for v in versions)]


def _still_running(futures: Collection[Future[HostAnswer]], patience_s: float) -> int:
    """How many are not done after `patience_s`. To `concurrent.futures.wait` one whose caller has left would be done
    only when the batcher comes upon it."""
    done = threading.Semaphore(0)
    for future in futures:
        future.add_done_callback(lambda _: done.release())
    until = time.monotonic() + patience_s
    return sum(not done.acquire(timeout=max(0.0, until - time.monotonic())) for _ in futures)
