"""What teams used, kept by the hour. One method is one transaction, committed on return.

Any number of processes add to the same hours. None of them takes the registry's lock for it, and the registry's
generation stays as it is.
"""

from collections.abc import Collection
from datetime import datetime

from models_registry.storage import stored_bytes, usage_rows
from models_registry.storage.database import Database
from models_registry.usage_records import Sums, UsageBatch, UsageQuestion, summed


class Usage:
    """Safe under threads and processes. Every method raises `Unavailable` while the database is away, and those that
    write raise `NoRoom` when it is full."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, process: str, batch: UsageBatch) -> None:
        """Add the batch of this process, once: one that was added before, though it may have seemed to fail, changes
        nothing. A process adds its batches in the order of their numbers."""
        with self._database.write() as session:
            if usage_rows.mark(session, process, batch.number):
                usage_rows.add(session, batch.counts)

    def record_stored(self, now: datetime) -> bool:
        """Count the stored bytes of the hours that have passed since this was done last, by whichever process. Whether
        that was all: of many hours it is a part."""
        with self._database.write() as session:
            return stored_bytes.record(session, now)

    def forget(self, before: datetime) -> None:
        """Remove what was used in hours that began before this time."""
        with self._database.write() as session:
            usage_rows.forget(session, before)

    def read(self, question: UsageQuestion, now: datetime, process: str, held: Collection[UsageBatch]) -> Sums:
        """What was used until now, including what this process holds: batches that it may or may not have added."""
        with self._database.read() as session:
            sums = usage_rows.read(session, question)
            added = usage_rows.marked(session, process)
            sums = summed(question, stored_bytes.unrecorded(session, question.team, now), sums)
        for batch in held:
            if batch.number > added:
                sums = summed(question, batch.counts, sums)
        return sums
