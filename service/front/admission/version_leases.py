"""Which requests use which adapter versions, from admission to answer. What is being removed waits.

A lease lasts as long as its request's future: an answer, an error or a cancelled call releases the versions.
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
        self._leases: dict[Future[HostAnswer], tuple[AdapterVersion, ...]] = {}
        self._removing: list[str] = []
        self.stopping = False

    @contextmanager
    def admission(self) -> Generator[tuple[str, ...]]:
        """Inside, no removal begins: to resolve a reference, to hand the request over and to acquire its versions is
        one step. Gives the adapters (`tone`) and versions (`tone@3`) that are being removed, which are answered as if
        they were gone. Raises `Unavailable` once the service stops."""
        with self._admission:
            if self.stopping:
                raise Unavailable("The service is shutting down; ask another instance.")
            yield tuple(self._removing)

    def acquire(self, future: Future[HostAnswer], versions: tuple[AdapterVersion, ...]) -> None:
        """Until `future` is done. Inside `admission`."""
        self._leases[future] = versions
        future.add_done_callback(self._leases.pop)

    def wait_for_admissions(self) -> None:
        """Return once every request that resolved before this call has been handed over."""
        with self._admission:
            pass

    def in_use(self) -> frozenset[str]:
        """The keys of the versions that requests use."""
        return frozenset(version.key for versions in self._leases.copy().values() for version in versions)

    @contextmanager
    def removing(self, name: str, patience_s: float = 0.0) -> Generator[None]:
        """Inside, no request uses the adapter (`tone`) or the version (`tone@3`) of that name, and none begins to: new
        requests are answered as if it were gone. Raises `Conflict` if it is in use, or if it still is after
        `patience_s`."""
        with self._admission:
            using = self._requests_using(name)
            if using and not patience_s:
                raise Conflict(f"{name!r} is in use by {len(using)} requests; try again when they are done.")
            self._removing.append(name)
        try:
            if running := _still_running(using, patience_s):
                raise Conflict(
                    f"{name!r} is still in use by {running} requests after {patience_s:g} s; nothing was changed. "
                    "Try again when they are done."
                )
            yield
        finally:
            with self._admission:
                self._removing.remove(name)

    def refuse(self) -> None:
        """Admit nothing more, answering `Unavailable`."""
        with self._admission:
            self.stopping = True

    def wait(self, timeout_s: float) -> None:
        """Return when every admitted request is done, or after `timeout_s`."""
        with self._admission:
            leases = self._leases.copy()
        _still_running(leases, timeout_s)

    def _requests_using(self, name: str) -> list[Future[HostAnswer]]:
        """The requests that use the adapter or the version of that name."""
        leases = self._leases.copy()  # one atomic copy, because a request that ends removes its lease on any thread
        return [
            future for future, versions in leases.items() if any(name in {v.adapter, v.reference} for v in versions)
        ]


def _still_running(futures: Collection[Future[HostAnswer]], patience_s: float) -> int:
    """How many are not done after `patience_s`. `concurrent.futures.wait` would report a cancelled future only once the
    batcher has noticed that."""
    done = threading.Semaphore(0)
    for future in futures:
        future.add_done_callback(lambda _: done.release())
    until = time.monotonic() + patience_s
    return sum(not done.acquire(timeout=max(0.0, until - time.monotonic())) for _ in futures)
