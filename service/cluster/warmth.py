"""Which replica of a base model gets a request: one that has its versions in memory, unless others have far less to do.

Pure decisions over what is known: reports of replicas, up to a second old, and what this front has sent itself. A
request is warm on a replica that has all its versions. Of the warm ones the less busy of two is taken (power of two
choices). It is compared with one that would have to load: where that has far less to do, it gets a copy. A copy of a
hot version relieves more than its load costs, so a small difference is enough for it.

What is loaded goes where it evicts something rarer. What is rarer than that goes to a few replicas, the same for each
front and as many as these loads keep busy, so that rare versions evict each other and no others.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from random import Random

from service.cluster.popularity import Popularity
from service.cluster.prefix_holders import PrefixHolders
from service.cluster.replica_view import ReplicaReport, ReplicaView

SPREAD, HOT_SPREAD = 1.0, 0.0625
"""So much more a warm replica may have to do than one that would load, as a part of what it takes at a time."""
HOT = 0.25
"""A version is hot while each replica that has it gets this part of a mean replica's requests for it alone, or more."""
PREFIX = 0.5
"""So much more a replica may have to do that has computed the prompt's beginning."""
SAMPLES = 3
CLEARLY = 2.0
"""A version must be so many times as popular as what its load evicts, else it goes where rare ones are."""
WIDEN, NARROW = 0.5, 0.02
"""Each load that finds the replicas for rare versions busy makes them more, each other one makes them fewer."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a request needs: the keys of its exact versions (none for the base), its rows or sequences, and digests of
    its prompt's beginnings, from short to long."""

    versions: tuple[str, ...] = ()
    rows: int = 1
    prefixes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """`replicas` are ids, the best first; a later one is for when those before it refuse. `is_warm`: the first has all
    versions."""

    replicas: tuple[str, ...]
    is_warm: bool


class WarmRouting:
    """One front's routing for one base model. `send` and `complete` record what was done with a choice. One thread.
    `now` is in seconds and never decreases."""

    def __init__(self, random: Random | None = None, popularity: Popularity | None = None) -> None:
        self._random = random or Random()
        self._popularity = popularity or Popularity()
        self._prefixes = PrefixHolders()
        self._replicas: dict[str, ReplicaView] = {}
        self._ranked: list[ReplicaView] = []
        self._holders: dict[str, list[ReplicaView]] = {}
        self._load = 0.0  # of all together
        self._few = 1.0  # the first of `_ranked` are for rare versions

    @property
    def replicas(self) -> frozenset[str]:
        """The ids of all that are known."""
        return frozenset(self._replicas)

    # ---- what is known ------------------------------------------------------------------------------------------

    def keep(self, ids: Collection[str]) -> None:
        """These are all the replicas that there are."""
        for id in [known for known in self._replicas if known not in ids]:
            self.remove(id)
        for id in ids:
            self._replicas.setdefault(id, ReplicaView(id))
        self._ranked = sorted(self._replicas.values(), key=lambda view: (view.rank, view.id))
        self._load = sum(view.load for view in self._ranked)

    def remove(self, id: str) -> None:
        """This one has ended, if it is known."""
        if view := self._replicas.pop(id, None):
            self._ranked.remove(view)
            self._load -= view.load
            for key in view.keys:
                self._drop(key, view)

    def report(self, id: str, report: ReplicaReport, now: float) -> None:
        """What a replica says of itself, if it is known."""
        if view := self._replicas.get(id):
            before = view.load
            arrived, gone = view.report(report, now)
            self._load += view.load - before
            for key in arrived:
                self._holders.setdefault(key, []).append(view)
            for key in gone:
                self._drop(key, view)

    def send(self, id: str, need: Need, now: float) -> None:
        """A request is on its way to this replica."""
        if view := self._replicas.get(id):
            before = view.load
            for key in view.send(need.versions, need.rows, now):
                self._holders.setdefault(key, []).append(view)
            self._load += view.load - before
            for prefix in need.prefixes:
                self._prefixes.record(prefix, id)

    def complete(self, id: str, need: Need) -> None:
        """The end of `send`, however the request ended."""
        if view := self._replicas.get(id):
            before = view.load
            view.complete(need.rows)
            self._load += view.load - before

    def holders(self, key: str) -> frozenset[str]:
        """The replicas that have this version, as far as is known."""
        return frozenset(view.id for view in self._holders.get(key, ()))

    # ---- the decision -------------------------------------------------------------------------------------------

    def choose(self, need: Need, now: float, refused: Collection[str] = ()) -> Choice:
        """Where to send a request; `refused` are the replicas that did not take it. No replicas where none is left."""
        for key in need.versions if not refused else ():
            self._popularity.record(key, now)
        warm = self._warm(need, refused)
        is_hot = self._is_hot(need, now)
        spread = HOT_SPREAD if is_hot else SPREAD
        if warm and warm[0].load <= spread and not need.prefixes and self._has_all(warm[0], need):
            return Choice(tuple(view.id for view in warm), is_warm=True)
        free = _without(self._ranked, refused)
        others = self._two(free) if (is_hot and warm) or not need.versions else self._loading(need, now, free)
        candidates = (*warm, *self._prefix_holders(need, refused), *others)
        ranked = sorted(candidates, key=lambda view: self._cost(view, need, spread))
        is_warm = bool(ranked) and self._has_all(ranked[0], need)
        return Choice(tuple(dict.fromkeys(view.id for view in ranked)), is_warm)

    def _cost(self, view: ReplicaView, need: Need, spread: float) -> float:
        missing = sum(key not in view.keys for key in need.versions)
        saved = PREFIX * self._prefixes.share(need.prefixes, view.id) if need.prefixes else 0.0
        return view.load + spread * missing - saved

    def _is_hot(self, need: Need, now: float) -> bool:
        replicas, share = len(self._ranked), self._popularity.share
        return any(share(key, now) * replicas >= HOT * len(self._holders.get(key, ())) for key in need.versions)

    def _has_all(self, view: ReplicaView, need: Need) -> bool:
        return all(key in view.keys for key in need.versions)

    def _warm(self, need: Need, refused: Collection[str]) -> list[ReplicaView]:
        """Two that have the one of its versions that fewest have, the less busy one first; for the base any two."""
        views: Sequence[ReplicaView] = self._ranked
        if need.versions:
            held = [self._holders.get(key, []) for key in need.versions]
            views = min((each for each in held if each), key=len, default=[])
        return self._two(_without(views, refused))

    def _prefix_holders(self, need: Need, refused: Collection[str]) -> list[ReplicaView]:
        ids = self._prefixes.holders(need.prefixes) if need.prefixes else ()
        return [self._replicas[id] for id in ids if id in self._replicas and id not in refused]

    def _loading(self, need: Need, now: float, free: Sequence[ReplicaView]) -> list[ReplicaView]:
        """The best of those that would have to load."""
        if not free:
            return []
        busy = self._load / len(self._ranked) + SPREAD / 2
        few = min(len(free), int(self._few))
        rate = max(self._popularity.of(key, now) for key in need.versions)
        best, least = None, rate
        for _ in range(SAMPLES if few < len(free) else 0):
            view = free[few + int(self._random.random() * (len(free) - few))]
            if view.load <= busy and (worth := CLEARLY * self._worth(view, now)) < least:
                best, least = view, worth
        return [best] if best is not None else self._rare(free, few, busy)

    def _rare(self, free: Sequence[ReplicaView], few: int, busy: float) -> list[ReplicaView]:
        """Where rare versions are loaded; where even the less busy of two is overloaded, any others beside it."""
        view = self._two(free[:few])[0]
        change = WIDEN if view.load > busy else -NARROW
        self._few = min(max(self._few + change, 1.0), float(len(self._ranked)))
        return [view, *self._two(free)] if view.load > busy + SPREAD / 2 else [view]

    def _worth(self, view: ReplicaView, now: float) -> float:
        """How popular that is which a load would evict there."""
        return self._popularity.of(view.tail[0], now) if view.room <= 0 and view.tail else 0.0

    def _two(self, views: Sequence[ReplicaView]) -> list[ReplicaView]:
        """Two different ones, or all, the less busy one first."""
        count = len(views)
        if count < 2:
            return list(views)
        first = int(self._random.random() * count)
        second = int(self._random.random() * (count - 1))
        one, other = views[first], views[second + (second >= first)]
        return [one, other] if one.load <= other.load else [other, one]

    def _drop(self, key: str, view: ReplicaView) -> None:
        holders = self._holders[key]
        holders.remove(view)
        if not holders:
            del self._holders[key]


def _without(views: Sequence[ReplicaView], refused: Collection[str]) -> Sequence[ReplicaView]:
    return [view for view in views if view.id not in refused] if refused else views
