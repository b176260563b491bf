"""Teams: how much each may have and ask for, and what it has stored."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final


@dataclass(frozen=True, slots=True)
class TeamLimits:
    """None where there is no limit.

    What is stored: `adapters` by count, `stored_bytes` of the distinct blobs that their versions name, and
    `resident_share`, the part (0 to 1) of each base model's memory for adapters. What is asked: inference calls and
    tokens per minute, rows and generated texts (`sequences_in_flight`) that wait or run at a time, and `request_bytes`
    of one request's body.
    """

    adapters: int | None = None
    stored_bytes: int | None = None
    resident_share: float | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    rows_in_flight: int | None = None
    sequences_in_flight: int | None = None
    request_bytes: int | None = None

    def as_dict(self) -> dict[str, int | float]:
        """Those that are set, by name."""
        return {name: limit for name, limit in asdict(self).items() if limit is not None}


NO_LIMITS: Final = TeamLimits()


@dataclass(frozen=True, slots=True)
class Team:
    """A group of callers, who own adapters together."""

    name: str
    created_at: datetime
    limits: TeamLimits = NO_LIMITS


@dataclass(frozen=True, slots=True)
class StoredUse:
    """What a team has stored: `bytes` are those of the distinct blobs that the versions of its `adapters` name."""

    adapters: int
    bytes: int


@dataclass(frozen=True, slots=True)
class TeamSpent:
    """What one process has to say of a team: what it spent since it last said so, and what it has in flight now."""

    limits: TeamLimits
    requests: float = 0.0
    tokens: float = 0.0
    rows: int = 0
    sequences: int = 0


@dataclass(frozen=True, slots=True)
class TeamShared:
    """What all processes together have left of a team's rates (None: no limit, below zero: a debt), and what the others
    have in flight."""

    requests_left: float | None = None
    tokens_left: float | None = None
    other_rows: int = 0
    other_sequences: int = 0
