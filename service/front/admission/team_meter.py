"""What one team asks for in this process, against its limits: two rates, and what is in flight."""

from collections.abc import Iterator
from dataclasses import dataclass

from models_registry.teams import NO_LIMITS, TeamLimits, TeamShared, TeamSpent
from service.front.admission.demand import Demand
from service.front.admission.over_limit import Excess, excess
from service.front.admission.token_bucket import TokenBucket

REQUESTS, TOKENS = "requests_per_minute", "tokens_per_minute"


@dataclass(frozen=True, slots=True)
class Rate:
    """Of `capacity` a minute so many are `left`; in `full_s` seconds all will be."""

    limit: str
    capacity: int
    left: float
    full_s: float


class TeamMeter:
    """Not safe under threads by itself; `now` is of the clock that its owner has."""

    def __init__(self) -> None:
        self.limits = NO_LIMITS
        self.rows = self.sequences = 0
        self._other_rows = self._other_sequences = 0
        self._requests: TokenBucket | None = None
        self._tokens: TokenBucket | None = None

    @property
    def is_idle(self) -> bool:
        """Whether it may be forgotten."""
        return self.limits == NO_LIMITS and not self.rows

    @property
    def has_rates(self) -> bool:
        """Whether it has any that are limited."""
        return self._requests is not None or self._tokens is not None

    def set_limits(self, limits: TeamLimits, now: float) -> None:
        self.limits = limits
        self._requests = _resized(self._requests, limits.requests_per_minute, now)
        self._tokens = _resized(self._tokens, limits.tokens_per_minute, now)

    def excesses(self, demand: Demand, now: float) -> Iterator[Excess]:
        """All limits that stand against it."""
        for limit, most, present, needed in (
            ("rows_in_flight", self.limits.rows_in_flight, self.all_rows, demand.rows),
            ("sequences_in_flight", self.limits.sequences_in_flight, self.all_sequences, demand.sequences),
        ):
            if most is not None and needed and present + needed > most:
                yield excess(limit, most, most - present, needed)
        for limit, bucket, needed in ((REQUESTS, self._requests, 1), (TOKENS, self._tokens, demand.tokens)):
            if bucket is not None and (wait_s := bucket.wait_s(needed, now)) > 0:
                yield excess(limit, bucket.capacity, bucket.level(now), needed, wait_s)

    def begin(self, demand: Demand, now: float) -> None:
        self.rows += demand.rows
        self.sequences += demand.sequences
        if self._requests is not None:
            self._requests.spend(1, now)
        self.charge_tokens(demand.tokens, now)

    def end(self, demand: Demand) -> None:
        self.rows -= demand.rows
        self.sequences -= demand.sequences

    def charge_tokens(self, tokens: int, now: float) -> None:
        """A negative number is given back."""
        if self._tokens is not None and tokens:
            self._tokens.spend(tokens, now)

    def rates(self, now: float) -> Iterator[Rate]:
        """Those that are limited."""
        for limit, bucket in ((REQUESTS, self._requests), (TOKENS, self._tokens)):
            if bucket is not None:
                yield Rate(limit, int(bucket.capacity), bucket.level(now), bucket.full_s(now))

    @property
    def all_rows(self) -> int:
        """In flight, in every process."""
        return self.rows + self._other_rows

    @property
    def all_sequences(self) -> int:
        return self.sequences + self._other_sequences

    # ---- with the other processes -------------------------------------------------------------------------------

    def report(self) -> TeamSpent:
        """What was spent since the last report, and what is in flight now."""
        requests = 0.0 if self._requests is None else self._requests.take_unreported()
        tokens = 0.0 if self._tokens is None else self._tokens.take_unreported()
        return TeamSpent(self.limits, requests, tokens, self.rows, self.sequences)

    def unreport(self, spent: TeamSpent) -> None:
        """The report failed: until one succeeds, this process has the limits for itself."""
        if self._requests is not None:
            self._requests.put_back_unreported(spent.requests)
        if self._tokens is not None:
            self._tokens.put_back_unreported(spent.tokens)
        self._other_rows = self._other_sequences = 0

    def follow(self, shared: TeamShared, now: float) -> None:
        if self._requests is not None and shared.requests_left is not None:
            self._requests.follow(shared.requests_left, now)
        if self._tokens is not None and shared.tokens_left is not None:
            self._tokens.follow(shared.tokens_left, now)
        self._other_rows, self._other_sequences = shared.other_rows, shared.other_sequences


def _resized(bucket: TokenBucket | None, capacity: int | None, now: float) -> TokenBucket | None:
    if capacity is None:
        return None
    if bucket is None:
        return TokenBucket(capacity, now)
    bucket.resize(capacity, now)
    return bucket
