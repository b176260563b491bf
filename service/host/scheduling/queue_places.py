"""How many places in a hosted model's queue each team holds, and whether it may have another."""

from collections import Counter
from collections.abc import Iterable
from concurrent.futures import Future

from models_registry.errors import Overloaded
from service.protocol.types import HostAnswer


class QueuePlaces:
    """`most` places, first come, first served. Once all are taken, a team that holds less than its fair share still
    gets one: no team can fill the queue for all, and no team loses a place that it has. At most twice as many places in
    all. Not thread-safe."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._teams: dict[Future[HostAnswer], str] = {}
        self._held: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._teams)

    def take(self, future: Future[HostAnswer], team: str) -> None:
        """Raises `Overloaded`."""
        taken = len(self._teams)
        if taken >= self._most:
            share = max(1, self._most // len({*self._held, team}))
            if self._held[team] >= share or taken >= 2 * self._most:
                raise Overloaded(f"{taken} requests wait for this model already; try again later.")
        self._teams[future] = team
        self._held[team] += 1

    def give_free(self, futures: Iterable[Future[HostAnswer]]) -> None:
        """Those that have none are passed over."""
        for future in futures:
            if (team := self._teams.pop(future, None)) is not None:
                self._held[team] -= 1
                if not self._held[team]:
                    del self._held[team]
