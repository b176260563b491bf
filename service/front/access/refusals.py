"""Attempts at changes that were refused, on their way into the log of events: so many a minute, in the background.

A refused caller causes no write by itself, and can't push others' attempts out: those beyond the bounds are only
counted."""

import logging
import threading
from collections import Counter
from collections.abc import Callable
from time import monotonic
from typing import Final

from models_registry.access import Access
from models_registry.errors import RegistryError
from models_registry.event_records import Refusal

MOST_PER_MINUTE: Final = 60
MOST_PER_ADDRESS: Final = 20

log = logging.getLogger(__name__)


class Refusals:
    """Safe under threads. `note` never blocks on the database; `flush` may."""

    def __init__(self, access: Access, now: Callable[[], float] = monotonic) -> None:
        """`now` is in seconds."""
        self._access = access
        self._now = now
        self._lock = threading.Lock()
        self._noted: list[Refusal] = []
        self._left_out = 0
        self._minute = float("-inf")
        self._of_minute = Counter[str | None]()

    def note(self, refusal: Refusal) -> None:
        with self._lock:
            if self._now() - self._minute >= 60.0:
                self._minute = self._now()
                self._of_minute.clear()
            address = refusal.author.address
            if self._of_minute.total() >= MOST_PER_MINUTE or self._of_minute[address] >= MOST_PER_ADDRESS:
                self._left_out += 1
                return
            self._of_minute[address] += 1
            self._noted.append(refusal)

    def flush(self) -> None:
        """Write what was recorded. While the database is away it is lost, except for its number."""
        with self._lock:
            noted, left_out = self._noted, self._left_out
            self._noted, self._left_out = [], 0
        if not noted and not left_out:
            return
        try:
            self._access.add_refusals(noted, left_out)
        except RegistryError as error:
            log.warning("%d refused attempts at changes were not noted: %s", len(noted) + left_out, error.detail)
            with self._lock:
                self._left_out += len(noted) + left_out
