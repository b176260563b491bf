"""What is counted of the requests that name an alias: numbers that may be added up over processes and time."""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

BOUNDS_S: Final = tuple(0.0005 * 1.25**step for step in range(64))
"""A latency is counted to the first bound, from half a millisecond to ten minutes, that it doesn't exceed."""

Outcome: TypeAlias = Literal["answered", "failed", "equal", "close", "different", "dropped"]
Latency: TypeAlias = Literal["latency", "theirs"]


@dataclass(frozen=True, slots=True)
class AliasCounter:
    """Of the requests that a version got under an alias; `against` 0 for those that it answered, else for those that it
    ran as a shadow of the version of that number."""

    adapter: str
    alias: str
    version: int
    against: int
    name: str


AliasCounts: TypeAlias = Mapping[AliasCounter, int]


def latency_name(of: Latency, seconds: float) -> str:
    """`theirs` are the latencies of the answers that a shadow was compared with."""
    return f"{of} {min(bisect_left(BOUNDS_S, seconds), len(BOUNDS_S) - 1):02}"


def percentile(counts: Mapping[str, int], of: Latency, share: float) -> float | None:
    """Seconds that so many of the latencies don't exceed, at most a quarter too many; None where there are none."""
    steps = [(step, counts.get(f"{of} {step:02}", 0)) for step in range(len(BOUNDS_S))]
    left = share * sum(count for _, count in steps)
    for step, count in steps:
        left -= count
        if count and left <= 0:
            return BOUNDS_S[step]
    return None
