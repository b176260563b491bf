"""How long forwards take by their rows, as those of late have shown: a fixed time, and a time for each row."""

from collections.abc import Sequence
from dataclasses import dataclass

from service.host.scheduling.job import Job

KEPT = 0.95
"""What a forward's weight is multiplied by at each later one: about the last twenty count."""
STEEPEST = 64
"""A row takes at least this part of its average time, however little the fit makes of it."""


class ForwardTimes:
    """Of one hosted model. Rows of about the same length take the same time, so each doubling of it has its own."""

    def __init__(self) -> None:
        self._lines: dict[tuple[bool, int], _Line] = {}

    def record(self, jobs: Sequence[Job], seconds: float) -> None:
        """These shared a forward."""
        longest = max(jobs, key=_length)
        self._lines.setdefault(_kind(longest), _Line()).add(sum(job.size for job in jobs), seconds)

    def rows_within(self, seconds: float, job: Job) -> int | None:
        """How many rows like the job's a forward of `seconds` has. At least one, and as many as take no longer than
        a forward's fixed time. None while there was no such forward."""
        line = self._lines.get(_kind(job))
        return None if line is None else line.rows_within(seconds)


@dataclass(slots=True)
class _Line:
    """The least squares through recent forwards, by their weighted sums."""

    weight: float = 0.0
    rows: float = 0.0
    seconds: float = 0.0
    squares: float = 0.0
    products: float = 0.0

    def add(self, rows: int, seconds: float) -> None:
        self.weight = KEPT * self.weight + 1
        self.rows = KEPT * self.rows + rows
        self.seconds = KEPT * self.seconds + seconds
        self.squares = KEPT * self.squares + rows * rows
        self.products = KEPT * self.products + rows * seconds

    def rows_within(self, seconds: float) -> int:
        average = self.seconds / self.rows
        per_row, variance = average, self.weight * self.squares - self.rows**2
        if variance > 1e-6 * self.rows**2:  # else all had equally many rows
            slope = (self.weight * self.products - self.rows * self.seconds) / variance
            per_row = min(max(slope, average / STEEPEST), average)
        fixed = (self.seconds - per_row * self.rows) / self.weight
        return max(1, int(max(seconds - fixed, fixed) / per_row))


def _kind(job: Job) -> tuple[bool, int]:
    return job.rows is None, _length(job).bit_length()


def _length(job: Job) -> int:
    return job.batch_key.length if job.batch_key else 0
