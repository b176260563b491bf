"""How much of the memory for a model's adapters each team's own may take."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from models_registry.errors import NoRoom
from service.host.adapters.cache_entry import CacheEntry


class ResidentShares:
    """Bytes that are taken, by team, and how many each may take: the part of `limit` that is its share. A team without
    a share may take all. Not for several threads."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.shares: Mapping[str, float] = {}
        self._taken: Counter[str] = Counter()

    def take(self, entry: CacheEntry) -> None:
        self._taken[entry.team] += entry.bytes

    def release(self, entry: CacheEntry) -> None:
        self._taken[entry.team] -= entry.bytes

    def cap(self, team: str) -> int:
        return int(self.shares[team] * self.limit) if team in self.shares else self.limit

    def excess(self, team: str, more: int = 0) -> int:
        """How many bytes too much the team has, with so many `more`; negative where there is room."""
        return self._taken[team] + more - self.cap(team)

    @property
    def exceeding(self) -> Collection[str]:
        """Teams that have more than their share, because it was lowered."""
        return [team for team in self.shares if self.excess(team) > 0]

    def evictions(self, loads: Iterable[CacheEntry], candidates: Collection[CacheEntry]) -> list[CacheEntry]:
        """Which of these candidates to evict, in their order, so that no team has more than its share once `loads` are
        loaded. Only adapters of teams that would exceed their share are evicted."""
        loading = Counter[str]()
        for entry in loads:
            loading[entry.team] += entry.bytes
        return [
            entry
            for team in self.shares
            for entry in until(self.excess(team, loading[team]), (one for one in candidates if one.team == team))
        ]

    def require(self, wanted: Collection[CacheEntry], staying: Collection[CacheEntry]) -> None:
        """Raises `NoRoom` where a team's share is less than what is wanted of its own beside what stays."""
        for team in {entry.team for entry in wanted if entry.team in self.shares}:
            own = [entry for entry in wanted if entry.team == team]
            beside = sum(entry.bytes for entry in staying if entry.team == team and entry not in own)
            needed, cap = sum(entry.bytes for entry in own), self.cap(team)
            if needed + beside > cap:
                names = ", ".join(sorted(entry.version.reference for entry in own))
                raise NoRoom(
                    f"{names} take {needed} bytes and {beside} are pinned or being loaded, but the adapters of team "
                    f"{team!r} may take {cap} (its share of a model's memory for adapters); ask for fewer at once, "
                    "unload some or raise the team's resident_share."
                )

    def have_room(self, entries: Iterable[CacheEntry], beside: Iterable[CacheEntry]) -> bool:
        """Whether the shares allow both together."""
        needed = Counter[str]()
        for entry in (*beside, *entries):
            if entry.team in self.shares:
                needed[entry.team] += entry.bytes
        return all(size <= self.cap(team) for team, size in needed.items())


def until(excess: int, candidates: Iterable[CacheEntry]) -> list[CacheEntry]:
    """The first candidates that free so many bytes, or all."""
    evictions: list[CacheEntry] = []
    for entry in candidates:
        if excess <= 0:
            break
        evictions.append(entry)
        excess -= entry.bytes
    return evictions
