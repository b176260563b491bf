"""Ends hosts whose forward takes longer than any may: nothing else ends a forward."""

import logging
import threading
import time
from collections.abc import Mapping

from service.front.hosts.host_manager import HostManager
from service.protocol.host import ModelHost

log = logging.getLogger(__name__)

MOST_LOOKS_S, LOOKS = 1.0, 8
"""How often it looks: so many times within the longest forward, at least once a second."""
JOIN_S = 1.0


class HostMonitor:
    """Constructing it starts nothing."""

    def __init__(self, hosting: HostManager, forward_s: float) -> None:
        self._hosting = hosting
        self._forward_s = forward_s
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
        for model, host in self._ready().items():
            work = host.work
            if work is not None and time.monotonic() - work.since > self._forward_s:
                reason = f"its forward took longer than {self._forward_s:g} s, ADAPTER_SERVICE_FORWARD_TIMEOUT"
                log.error("the host of model %s is ended: %s", model, reason)
                host.kill(reason)

    def _ready(self) -> Mapping[str, ModelHost]:
        places = self._hosting.all_places()
        return {model: place.hosted.host for model, place in places.items() if place.hosted is not None}

    def _run(self) -> None:
        while not self._stopped.wait(min(MOST_LOOKS_S, self._forward_s / LOOKS)):
            self.look()
