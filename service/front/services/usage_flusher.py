"""One thread that adds what this process counts to the database, every few seconds and at the end."""

import logging
from datetime import UTC, datetime, timedelta
from typing import Final

from models_registry.errors import RegistryError
from models_registry.usage import Usage
from models_registry.usage_records import hour_of
from service.front.periodic import Periodic
from service.front.services.usage_meter import UsageMeter
from service.front.trouble_log import TroubleLog

log = logging.getLogger(__name__)

PERIOD_S: Final = 2.0
LAST_ATTEMPTS: Final = 3


class UsageFlusher:
    """Constructing it starts nothing."""

    def __init__(self, meter: UsageMeter, usage: Usage, kept: timedelta) -> None:
        """Hours are kept for so long."""
        self._meter = meter
        self._usage = usage
        self._kept = kept
        self._flushing = Periodic("usage", PERIOD_S, self._try)
        self._troubles = TroubleLog(log, "usage is added to the database again")
        self._tidied: datetime | None = None

    def start(self) -> None:
        self._flushing.start()

    def stop(self) -> None:
        """Once nothing is counted any more: add the rest."""
        self._flushing.stop()
        for _ in range(LAST_ATTEMPTS):
            if self._try():
                return
        lost = sum(counts.requests + counts.errors for batch in self._meter.held for counts in batch.counts.values())
        log.error("the usage of %d calls is lost, because the database is away", lost)

    def flush(self) -> None:
        """Add all that was counted until now. Raises `NoRoom`, `Unavailable`; then it is kept, and added later."""
        for _ in range(2):  # one that failed before, and what was counted since
            if (batch := self._meter.next_batch()) is not None:
                self._usage.add(self._meter.process, batch)
                self._meter.added()

    def _try(self) -> bool:
        """Whether everything that was counted is in the database."""
        try:
            self.flush()
            self._tidy()
        except RegistryError as error:
            self._troubles.failed(f"usage is held in memory: {error.detail}")
        except Exception as error:  # without this thread nothing would be counted any more
            if self._troubles.failed(f"usage is held in memory: {type(error).__name__}: {error}"):
                log.exception("usage can't be added")
        else:
            self._troubles.succeeded()
            return True
        return False

    def _tidy(self) -> None:
        """Once an hour."""
        now = datetime.now(UTC)
        if self._tidied != hour_of(now) and self._usage.record_stored(now):
            self._usage.forget(now - self._kept)
            self._tidied = hour_of(now)
