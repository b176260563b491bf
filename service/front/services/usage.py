"""What was used, as far as the caller may know."""

from dataclasses import dataclass
from datetime import UTC, datetime

from models_registry.usage import Usage
from models_registry.usage_records import Part, Sums, UsageQuestion
from service.front.access.caller import Caller
from service.front.services.usage_meter import UsageMeter


@dataclass(frozen=True, slots=True)
class UsageReports:
    """Reads may block."""

    usage: Usage
    meter: UsageMeter

    def report(self, caller: Caller, by: tuple[Part, ...], since: datetime | None, until: datetime | None) -> Sums:
        """Of all teams for an admin, else of the caller's own; of a key that is limited to models or adapters, what it
        has used itself. Raises `Unavailable`."""
        is_limited = caller.models is not None or caller.adapters is not None
        question = UsageQuestion(
            by, since, until, None if caller.may("admin") else caller.team, (caller.key or "") if is_limited else None
        )
        held = self.meter.held  # before the database is read: a batch that is added meanwhile is found there
        return self.usage.read(question, datetime.now(UTC), self.meter.process, held)
