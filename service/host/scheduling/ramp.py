"""How many rows one that waits alone gets of a forward.

Just after others were there it begins with no more rows than their last forward had, because they may be back before
its own forward ends; then it gets twice as many each time.
"""

from service.host.scheduling.batch_builder import FEW_ROWS


class Ramp:
    def __init__(self) -> None:
        self._most: int | None = None
        """None: as many as a forward may have."""

    @property
    def is_over(self) -> bool:
        return self._most is None

    def limit(self, max_rows: int, *, waits_alone: bool) -> int:
        return min(max_rows, self._most) if waits_alone and self._most is not None else max_rows

    def record(self, rows: int, max_rows: int, *, was_shared: bool, few_rows: int = FEW_ROWS) -> None:
        """A forward that may have `max_rows` has so many. `few_rows` are never too many."""
        if was_shared:
            self._most = max(rows, few_rows)
        elif self._most is not None:
            self._most = 2 * self._most if 2 * self._most < max_rows else None
