"""What teams used: counts of one hour, and whose they are. An empty word, and version 0, stand for none."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, TypeAlias, get_args

HOUR: Final = timedelta(hours=1)

Part: TypeAlias = Literal["team", "model", "adapter", "version", "key", "hour"]
PARTS: Final[tuple[Part, ...]] = get_args(Part)
"""Of a group, by which usage can be summed up."""
PartValue: TypeAlias = str | int | datetime


@dataclass(frozen=True, slots=True)
class UsageGroup:
    """`team` is the caller's, and of stored bytes the owner's; `adapter` is the registry's own name."""

    hour: datetime
    team: str
    key: str = ""
    model: str = ""
    adapter: str = ""
    version: int = 0

    def at(self, by: tuple[Part, ...]) -> tuple[PartValue, ...]:
        return tuple(getattr(self, part) for part in by)


@dataclass(frozen=True, slots=True)
class UsageCounts:
    """`requests` were answered, `errors` are those that were not. `byte_hours` are bytes times hours."""

    requests: int = 0
    rows: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    forward_s: float = 0.0
    byte_hours: float = 0.0
    errors: int = 0

    def __add__(self, other: "UsageCounts") -> "UsageCounts":
        # Written out, because this is a part of what each request costs.
        return UsageCounts(
            self.requests + other.requests,
            self.rows + other.rows,
            self.prompt_tokens + other.prompt_tokens,
            self.cached_tokens + other.cached_tokens,
            self.generated_tokens + other.generated_tokens,
            self.forward_s + other.forward_s,
            self.byte_hours + other.byte_hours,
            self.errors + other.errors,
        )


COUNTS: Final = tuple(field.name for field in fields(UsageCounts))

Sums: TypeAlias = Mapping[tuple[PartValue, ...], UsageCounts]
"""Counts by the values of those parts that a question names, in its order."""


@dataclass(frozen=True, slots=True)
class UsageQuestion:
    """Sums by these parts, of the hours that lie at least in part between `since` and `until`, of one team or of one
    key alone; None: of all."""

    by: tuple[Part, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    team: str | None = None
    key: str | None = None

    def covers(self, group: UsageGroup) -> bool:
        return (
            (self.since is None or group.hour > self.since - HOUR)
            and (self.until is None or group.hour < self.until)
            and self.team in (None, group.team)
            and self.key in (None, group.key)
        )


@dataclass(frozen=True, slots=True)
class UsageBatch:
    """Counts that are added to the database together, or not at all. A process numbers its batches from 1."""

    number: int
    counts: Mapping[UsageGroup, UsageCounts]


def hour_of(time: datetime) -> datetime:
    """When the hour began."""
    return time.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def summed(question: UsageQuestion, counts: Mapping[UsageGroup, UsageCounts], sums: Sums) -> Sums:
    """The sums with those of the counts that the question is about."""
    more = dict(sums)
    for group, own in counts.items():
        if question.covers(group):
            place = group.at(question.by)
            more[place] = more.get(place, UsageCounts()) + own
    return more
