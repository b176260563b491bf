"""What is said to a team that asks for more than it may at this moment."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from models_registry.errors import Overloaded

SOON_S: Final = 1.0
"""When to try again where nobody knows when others will be answered."""
RAISE: Final = "an admin can raise the limit with PATCH /teams/{team}."


@dataclass(frozen=True, slots=True)
class Excess:
    """One limit that is reached, in a sentence, and the seconds after which trying again may help."""

    detail: str
    retry_after_s: float


class OverLimit(Overloaded):
    """A limit of the team's on what it asks for is reached. Wait for `retry_after_s` seconds."""

    def __init__(self, team: str, reached: Sequence[Excess]) -> None:
        """`reached` are all the limits that stand against the request, at least one."""
        details = " ".join(excess.detail for excess in reached)
        super().__init__(f"The team {team!r} has reached a limit: {details}", hint=f"Try again later, or {RAISE}")
        self.retry_after_s = max(1, math.ceil(max(excess.retry_after_s for excess in reached)))


def excess(limit: str, capacity: float, left: float, needed: int, retry_after_s: float = SOON_S) -> Excess:
    """Of `capacity` only so much is `left`, or it is less than what is `needed` at all."""
    if needed > capacity:
        detail = f"`{limit}` is {capacity:.0f}, and this request alone needs {needed}: send less at once."
    else:
        detail = f"`{limit}` is {capacity:.0f}, with {max(0, math.floor(left))} left; this request needs {needed}."
    return Excess(detail, retry_after_s)
