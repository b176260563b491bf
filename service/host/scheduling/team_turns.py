"""What waits in line for its team: the teams take turns, and of each the one that waits longest is first."""

from collections import deque
from collections.abc import Collection, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class TeamTurns(Generic[T]):
    """In the order of the teams' turns. Not thread-safe."""

    def __init__(self) -> None:
        self._teams: dict[str, deque[T]] = {}

    def __iter__(self) -> Iterator[T]:
        return (one for own in self._teams.values() for one in own)

    def __bool__(self) -> bool:
        return bool(self._teams)

    @property
    def teams(self) -> Collection[str]:
        """Those that wait."""
        return self._teams.keys()

    @property
    def first(self) -> T | None:
        """Whose turn it is; None where nobody waits."""
        return next(iter(self), None)

    def add(self, team: str, one: T) -> None:
        self._teams.setdefault(team, deque()).append(one)

    def add_first(self, team: str, one: T) -> None:
        """Before all others of its team."""
        self._teams.setdefault(team, deque()).appendleft(one)

    def pop(self) -> T:
        """Remove and return the first. The next turn is another team's. Raises `StopIteration` where nobody waits."""
        team, own = next(iter(self._teams.items()))
        one = own.popleft()
        del self._teams[team]
        if own:
            self._teams[team] = own
        return one

    def remove(self, team: str, one: T) -> None:
        """Of those that wait."""
        self._teams[team].remove(one)
        if not self._teams[team]:
            del self._teams[team]
