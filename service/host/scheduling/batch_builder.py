"""A batch while it is filled: which jobs may share its forward, and how many rows each team and adapter gets.

Rows are shared twice by one rule, among teams and among each team's adapters: once one of them has nothing more to add,
the busiest gets at most as many rows as all others together.
"""

from collections import Counter
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

from service.host.scheduling.job import Job

# Rows are padded to the longest of their batch. At most half of a batch may be padding, except where rows are so short
# that their tokens hardly count.
STRETCH, SHORT = 2, 32

# Below this many rows the fixed cost of a forward dominates.
FEW_ROWS = 4

K = TypeVar("K", bound=Hashable)


class RowShares(Generic[K]):
    """How many of at most `max_rows` rows each owner has. `few_rows` are always allowed."""

    def __init__(self, max_rows: int, few_rows: int = FEW_ROWS) -> None:
        self.rows_of: Counter[K] = Counter()
        self.room = max_rows
        self.few_rows: Final = few_rows

    @property
    def rows(self) -> int:
        return self.rows_of.total()

    @property
    def are_shared(self) -> bool:
        return len(self.rows_of) > 1

    def add(self, owner: K, rows: int) -> None:
        self.rows_of[owner] += rows
        self.room -= rows

    def cap_busiest(self, exhausted: K) -> None:
        """`exhausted` adds no more. If it has a part in this, the busiest gets no more than all others together."""
        if exhausted in self.rows_of and self.are_shared:
            most = max(2 * (self.rows - max(self.rows_of.values())), self.few_rows)
            self.room = max(0, min(self.room, most - self.rows))


class BatchBuilder:
    """Jobs that may share a forward with the first of them, which is taken however large it is."""

    def __init__(self, first: Job, max_rows: int, max_own_rows: int, few_rows: int = FEW_ROWS) -> None:
        """`max_own_rows` are the first one's team's, as in `admit`; `few_rows` are never too many for several teams."""
        self.jobs: list[Job] = []
        self.teams: RowShares[str] = RowShares(max_rows, few_rows)
        self.adapters: dict[str, RowShares[frozenset[str]]] = {}
        self._batch_key = first.batch_key
        self._shortest = self._longest = first.batch_key.length if first.batch_key else 0
        self._add(first, max_own_rows)

    @property
    def has_room(self) -> bool:
        return self._batch_key is not None and self.teams.room > 0

    def has_room_for(self, team: str) -> bool:
        own = self.adapters.get(team)
        return self.has_room and (own is None or own.room > 0)

    def admit(self, job: Job, max_own_rows: int) -> bool:
        """Add the job if it fits; its team gets at most `max_own_rows` in all. Whether it did."""
        own = self.adapters.get(job.team)
        if (
            self._batch_key is None
            or job.batch_key is None
            or job.batch_key.common != self._batch_key.common
            or job.size > min(self.teams.room, max_own_rows if own is None else own.room)
        ):
            return False
        shortest, longest = min(self._shortest, job.batch_key.length), max(self._longest, job.batch_key.length)
        if longest > max(STRETCH * shortest, SHORT):
            return False
        self._shortest, self._longest = shortest, longest
        self._add(job, max_own_rows)
        return True

    def cap_busiest_adapter(self, team: str, exhausted: frozenset[str]) -> None:
        """The team has no more jobs for the adapters `exhausted`."""
        if own := self.adapters.get(team):
            own.cap_busiest(exhausted)

    def _add(self, job: Job, max_own_rows: int) -> None:
        self.jobs.append(job)
        self.teams.add(job.team, job.size)
        self.adapters.setdefault(job.team, RowShares(max_own_rows)).add(job.adapters, job.size)
