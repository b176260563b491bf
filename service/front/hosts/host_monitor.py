"""Ends hosts whose forward takes longer than any may, for nothing else ends a forward; and those that say nothing any
more for so long, whatever they are at."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field

from service.protocol.host import ModelHost
from service.protocol.types import HostStatus

log = logging.getLogger(__name__)

MOST_LOOKS_S, LOOKS = 1.0, 8
"""How often it looks: so many times within the longest forward, at least once a second."""
JOIN_S = 1.0


@dataclass(frozen=True, slots=True)
class _Call:
    """A question that the host's thread for messages answers at once, also beside a forward."""

    status: Future[HostStatus]
    at: float = field(default_factory=time.monotonic)


class HostMonitor:
    """Of those that `ready` gives, by model, at each look. Constructing it starts nothing."""

    def __init__(self, ready: Callable[[], Mapping[str, ModelHost]], forward_s: float) -> None:
        self._ready = ready
        self._forward_s = forward_s
        self._calls: dict[ModelHost, _Call] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="host monitor", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(JOIN_S)

    def look(self) -> None:
        """End whatever is stuck at this moment."""
        ready = self._ready()
        for model, host in ready.items():
            if (why := self._why_stuck(host)) is not None:
                reason = f"{why} than {self._forward_s:g} s, ADAPTER_SERVICE_FORWARD_TIMEOUT"
                log.error("the host of model %s is ended: %s", model, reason)
                host.kill(reason)
        alive = set(ready.values())
        self._calls = {host: call for host, call in self._calls.items() if host in alive}

    def _why_stuck(self, host: ModelHost) -> str | None:
        now = time.monotonic()
        if (work := host.work) is not None and now - work.since > self._forward_s:
            return "its forward took longer"
        call = self._calls.get(host)
        if call is not None and not call.status.done():
            return "it said nothing for longer" if now - call.at > self._forward_s else None
        self._calls[host] = _Call(host.status())
        return None

    def _run(self) -> None:
        while not self._stopped.wait(min(MOST_LOOKS_S, self._forward_s / LOOKS)):
            self.look()
