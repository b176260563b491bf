"""Merges adapters in a process of their own, which ends with them: what one costs is felt by nobody else."""

import threading
from concurrent.futures import wait

from models_registry.adapters.cancellation import Stopped, require_wanted
from models_registry.errors import Cancelled, NoRoom
from service.front.hosts.hosted_model import LOOKING_S
from service.protocol.errors import HostLost
from service.protocol.host import Transport
from service.protocol.types import Merged, MergeOrder

AT_ONCE = 2
"""So many merges run at the same time; the others wait for these."""
NAME = "a merge"


class MergeRunner:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._turns = threading.Semaphore(AT_ONCE)

    def merge(self, order: MergeOrder, stopped: Stopped) -> Merged:
        """Raises as the protocol's verb, `NoRoom` where the process was ended for its memory, and `Cancelled` once
        `stopped` says that nobody waits."""
        while not self._turns.acquire(timeout=LOOKING_S):
            require_wanted(stopped)
        host = self._transport.start(NAME)
        try:
            merged = host.merge(0, order)
            while not wait([merged], LOOKING_S).done:
                require_wanted(stopped)
            return merged.result()
        except HostLost as error:
            message = f"The process that merged the adapters ended ({error.reason}); merge fewer or smaller ones."
            raise NoRoom(message) from error
        finally:
            host.cancel(0)
            host.end(Cancelled("The merge is over."))
            self._turns.release()
