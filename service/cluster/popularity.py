"""How often each version is asked for, from one front's own requests: a count that halves with time."""

HALF_LIFE_S = 600.0
MOST = 100_000
OTHERS = 32.0
"""A share is counted as if there had been so many requests more, for others: the first few requests say little."""


class Popularity:
    """Remembers at least the `most` versions that were asked for last, and at most twice as many. Each call takes the
    same short time however many there are."""

    def __init__(self, half_life_s: float = HALF_LIFE_S, most: int = MOST) -> None:
        self._half_life_s = half_life_s
        self._most = most
        self._total = 0.0
        self._total_at = 0.0
        self._young: dict[str, tuple[float, float]] = {}
        self._old: dict[str, tuple[float, float]] = {}

    def record(self, key: str, now: float) -> None:
        """`key` was asked for. `now` is in seconds and never decreases."""
        self._total = self._fade(self._total, self._total_at, now) + 1.0
        self._total_at = now
        self._young[key] = (self.of(key, now) + 1.0, now)
        if len(self._young) >= self._most:
            self._old, self._young = self._young, {}

    def of(self, key: str, now: float) -> float:
        """Its requests, each halved for every half-life that has passed since."""
        found = self._young.get(key) or self._old.get(key)
        return self._fade(*found, now) if found else 0.0

    def share(self, key: str, now: float) -> float:
        """The part of all requests that were for it, 0 to 1."""
        return self.of(key, now) / (self._fade(self._total, self._total_at, now) + OTHERS)

    def _fade(self, count: float, at: float, now: float) -> float:
        return count * 0.5 ** ((now - at) / self._half_life_s)
