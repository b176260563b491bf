"""Bars over time, as numbers that a page draws."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

HEIGHT: Final = 100.0


@dataclass(frozen=True, slots=True)
class TimeBar:
    """`height` is 0 to `HEIGHT`."""

    at: datetime
    value: float
    height: float


@dataclass(frozen=True, slots=True)
class Chart:
    """A bar for each step of time, the empty ones too."""

    bars: tuple[TimeBar, ...]
    highest: float
    total: float


def chart(times: Sequence[datetime], values: Mapping[datetime, float]) -> Chart:
    highest = max(values.values(), default=0.0)
    bars = tuple(TimeBar(at, values.get(at, 0.0), HEIGHT * values.get(at, 0.0) / (highest or 1.0)) for at in times)
    return Chart(bars, highest, sum(bar.value for bar in bars))
