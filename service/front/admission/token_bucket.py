"""A rate: a bucket that holds what may be spent at once, and is refilled evenly within a minute.

The libraries at hand count windows, or have callers wait. Neither can give back what was charged too much.
"""

from typing import Final

WINDOW_S: Final = 60.0


class TokenBucket:
    """Full at first. Times are seconds of one monotonic clock. Not safe under threads by itself."""

    def __init__(self, capacity: float, now: float) -> None:
        self.capacity = capacity
        self._level = capacity
        self._at = now
        self._unreported = 0.0

    def level(self, now: float) -> float:
        """What may be spent now. Below zero where more was spent than was known of: a debt, which is refilled first."""
        refilled = max(0.0, now - self._at) * self.capacity / WINDOW_S
        return min(self.capacity, self._level + refilled)

    def spend(self, amount: float, now: float) -> None:
        """Whatever is left. A negative amount is given back."""
        self._level = min(self.capacity, self.level(now) - amount)
        self._at = now
        self._unreported += amount

    def wait_s(self, amount: float, now: float) -> float:
        """Seconds until so much may be spent: 0 where it may be now. More than the bucket ever holds may never be; a
        minute, whenever that is asked."""
        if amount > self.capacity:
            return WINDOW_S
        return max(0.0, amount - self.level(now)) * WINDOW_S / self.capacity if self.capacity else 0.0

    def full_s(self, now: float) -> float:
        """Seconds until it is full."""
        return (self.capacity - self.level(now)) * WINDOW_S / self.capacity if self.capacity else 0.0

    def resize(self, capacity: float, now: float) -> None:
        """What is in it stays, as far as it fits."""
        self._level = min(capacity, self.level(now))
        self._at = now
        self.capacity = capacity

    # ---- one bucket of several processes ------------------------------------------------------------------------

    def take_unreported(self) -> float:
        """What was spent since this was last asked."""
        spent, self._unreported = self._unreported, 0.0
        return spent

    def put_back_unreported(self, spent: float) -> None:
        """The report failed."""
        self._unreported += spent

    def follow(self, level: float, now: float) -> None:
        """So much is left for all processes, of which this one has spent more since it reported."""
        self._level = min(self.capacity, level - self._unreported)
        self._at = now
