"""Ways to choose a replica, each with what a front knows: ours, and those it is measured beside."""

import bisect
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from random import Random
from typing import Protocol

from service.cluster.popularity import Popularity
from service.cluster.replica_view import ReplicaReport, ReplicaView
from service.cluster.warmth import Need, WarmRouting


class Policy(Protocol):
    def keep(self, ids: Collection[str]) -> None: ...
    def report(self, id: str, report: ReplicaReport, now: float) -> None: ...
    def remember(self, key: str, now: float) -> None: ...
    def choose(self, key: str, now: float, refused: Sequence[str]) -> str: ...
    def send(self, id: str, key: str, now: float) -> None: ...
    def complete(self, id: str, key: str) -> None: ...


class Warm:
    """Ours."""

    def __init__(self, seed: int) -> None:
        self._popularity = Popularity()
        self._routing = WarmRouting(Random(seed), self._popularity)

    def remember(self, key: str, now: float) -> None:
        self._popularity.record(key, now)

    def keep(self, ids: Collection[str]) -> None:
        self._routing.keep(ids)

    def report(self, id: str, report: ReplicaReport, now: float) -> None:
        self._routing.report(id, report, now)

    def choose(self, key: str, now: float, refused: Sequence[str]) -> str:
        return self._routing.choose(Need((key,)), now, refused).replicas[0]

    def send(self, id: str, key: str, now: float) -> None:
        self._routing.send(id, Need((key,)), now)

    def complete(self, id: str, key: str) -> None:
        self._routing.complete(id, Need((key,)))


class _Loads:
    """What the others know: how busy each replica is, from the same reports."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.views: dict[str, ReplicaView] = {}

    def keep(self, ids: Collection[str]) -> None:
        self.views = {id: self.views.get(id) or ReplicaView(id) for id in ids}

    def report(self, id: str, report: ReplicaReport, now: float) -> None:
        if view := self.views.get(id):
            view.report(report, now)

    def remember(self, key: str, now: float) -> None:
        """They have no use for what was."""

    def send(self, id: str, key: str, now: float) -> None:
        self.views[id].send((), 1, now)

    def complete(self, id: str, key: str) -> None:
        if view := self.views.get(id):
            view.complete(1)


class Drawn(_Loads):
    """Random."""

    def choose(self, key: str, now: float, refused: Sequence[str]) -> str:
        return self.random.choice([id for id in self.views if id not in refused] if refused else list(self.views))


class LeastLoaded(_Loads):
    """The better of two, as Ray Serve's own router does."""

    def choose(self, key: str, now: float, refused: Sequence[str]) -> str:
        free = [view for view in self.views.values() if view.id not in refused]
        return min(self.random.sample(free, min(2, len(free))), key=lambda view: view.load).id


class BoundedHash(_Loads):
    """Consistent hashing with bounded loads: the next on the ring that has at most 1.25 times the mean load."""

    def keep(self, ids: Collection[str]) -> None:
        super().keep(ids)
        self._ring = sorted((zlib.crc32(f"{id}/{place}".encode()), id) for id in ids for place in range(100))

    def choose(self, key: str, now: float, refused: Sequence[str]) -> str:
        most = 1.25 * (sum(view.load for view in self.views.values()) + 1 / 64) / len(self.views)
        place = bisect.bisect(self._ring, (zlib.crc32(key.encode()), ""))
        for step in range(len(self._ring)):
            id = self._ring[(place + step) % len(self._ring)][1]
            if id not in refused and self.views[id].load <= most:
                return id
        return min((view for view in self.views.values() if view.id not in refused), key=lambda view: view.load).id


POLICIES: Mapping[str, Callable[[int], Policy]] = {
    "warm": Warm,
    "random": Drawn,
    "least loaded": LeastLoaded,
    "bounded hashing": BoundedHash,
}
