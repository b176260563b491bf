"""The byte limit of one hosted model's adapters: what is in memory, what is loaded and what is evicted next.

What is pinned, or is being loaded by name, stays. The adapters of the next requests are loaded in turn, as many as fit.
All others are evicted when their room is needed, least recently used first. A team whose share is full makes room among
its own adapters, and takes no other team's. Bookkeeping only: it touches no threads and no tensors.
"""

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from models_registry.errors import NoRoom
from models_registry.injection.adapted_model import PreparedAdapter
from service.host.adapters.cache_entry import CacheEntry, Evicting, Loading, Resident, Staged, Stored
from service.host.adapters.resident_shares import ResidentShares, until
from service.protocol.stats import AdapterStats

# What has been on its way for longer waits for a slow store, and doesn't keep others from being fetched beside it.
SLOW_S = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What to evict, then what to load, and the requests that can never fit, with the reason."""

    evictions: list[CacheEntry] = field(default_factory=list["CacheEntry"])
    loads: list[CacheEntry] = field(default_factory=list["CacheEntry"])
    unsatisfiable: dict[frozenset[str], NoRoom] = field(default_factory=dict[frozenset[str], NoRoom])


class MemoryBudget:
    """`entries` is in order of last use, oldest first. Not for several threads."""

    def __init__(self, limit: int) -> None:
        self._shares = ResidentShares(limit)
        self.taken = 0
        self.entries: dict[str, CacheEntry] = {}
        self.failures = 0
        """How many loads failed."""
        self._loads = self._evictions = 0
        self._warm = self._cold = 0
        self.absent: set[str] = set()
        """Keys that requests wait for."""
        self._unplaced: set[str] = set()
        self._unwanted: set[str] = set()

    @property
    def limit(self) -> int:
        return self._shares.limit

    @limit.setter
    def limit(self, max_bytes: int) -> None:
        self._shares.limit = max_bytes

    def share(self, shares: Mapping[str, float]) -> None:
        """From now on these teams' adapters may take these parts of the limit."""
        self._shares.shares = dict(shares)

    @property
    def is_balanced(self) -> bool:
        """Whether a plan would change nothing."""
        return not self._unplaced and not self._unwanted and not self._has_too_much

    @property
    def _has_too_much(self) -> bool:
        """Whether something must and can be evicted, because the limit or a team's share was lowered."""
        has_too_much, exceeding = self.taken > self.limit, self._shares.exceeding
        return bool(has_too_much or exceeding) and any(
            entry.is_idle and entry.in_memory and (has_too_much or entry.team in exceeding)
            for entry in self.entries.values()
        )

    @property
    def stats(self) -> AdapterStats:
        there = [entry for entry in self.entries.values() if entry.in_memory]
        resident = sum(entry.state.tier == "resident" for entry in there)
        return AdapterStats(
            staged=len(there) - resident,
            resident=resident,
            pinned=sum(entry.pinned for entry in there),
            bytes=sum(entry.bytes for entry in there),
            pinned_bytes=sum(entry.bytes for entry in there if entry.pinned),
            max_bytes=self.limit,
            loads=self._loads,
            evictions=self._evictions,
            failures=self.failures,
            warm_requests=self._warm,
            cold_requests=self._cold,
        )

    def count_request(self, entries: Collection[CacheEntry]) -> None:
        """One that names these arrives."""
        is_warm = all(entry.in_memory for entry in entries)
        self._warm += bool(entries) and is_warm
        self._cold += not is_warm

    # ---- the steps of an entry ------------------------------------------------------------------------------

    def update_indexes(self, entry: CacheEntry) -> None:
        """After any change of an entry: record whether it is awaited or unwanted; forget it if neither."""
        name = entry.version.key
        for names, belongs in (
            (self.absent, entry.is_awaited),
            (self._unplaced, entry.is_awaited and not entry.takes_room),
            (self._unwanted, entry.unwanted and entry.is_idle and entry.in_memory),
        ):
            (names.add if belongs else names.discard)(name)
        if entry.is_idle and not entry.takes_room and not entry.is_read:
            self.entries.pop(name, None)

    def want(self, entry: CacheEntry) -> None:
        """It is loaded by name: an earlier unload or failure no longer counts."""
        if entry.unwanted:
            entry.retention = "evictable"
        if entry.failure is not None:
            entry.state = Stored()
        self.update_indexes(entry)

    def reserve(self, entry: CacheEntry) -> bool:
        """Keep a place for what begins to load now. False where there isn't one, or it has one already."""
        if entry.takes_room or not self._has_room(entry):
            return False
        self._take_room(entry)
        entry.state = Loading(time.monotonic())
        self.update_indexes(entry)
        return True

    def fill(self, entry: CacheEntry, prepared: PreparedAdapter) -> bool:
        """It is loaded. False where it takes more than was reserved and doesn't fit: then it has to load again."""
        self._release_room(entry)
        entry.bytes = prepared.bytes
        fits = self._has_room(entry)
        if fits:
            self._take_room(entry)
            entry.state = Staged(prepared, time.monotonic())
            self._loads += 1
        self.update_indexes(entry)
        return fits

    def fail(self, entry: CacheEntry, error: BaseException) -> None:
        """Its load failed. If it was placed meanwhile, it stays."""
        self.failures += 1
        if not entry.in_memory:
            self._release_room(entry)
            entry.state = Stored(error)
            self.update_indexes(entry)

    def attach(self, entry: CacheEntry) -> None:
        """The module has taken its tensors."""
        if isinstance(entry.state, Staged):
            entry.state = Resident(entry.state.loaded_at)

    def evict(self, entries: Iterable[CacheEntry]) -> None:
        """They are about to be taken out: a caller that loads one waits until it is back. What is only loading loses
        its place at once."""
        for entry in entries:
            if isinstance(entry.state, Staged | Resident):
                entry.state = Evicting(entry.state.tier, entry.state.loaded_at)
            elif isinstance(entry.state, Loading):
                self.free(entry)

    def free(self, entry: CacheEntry) -> None:
        """Give its place free."""
        self._evictions += entry.in_memory and not entry.unwanted
        self._release_room(entry)
        self.update_indexes(entry)

    def _has_room(self, entry: CacheEntry) -> bool:
        return self.taken + entry.bytes <= self.limit and self._shares.excess(entry.team, entry.bytes) <= 0

    def _take_room(self, entry: CacheEntry) -> None:
        self.taken += entry.bytes
        self._shares.take(entry)

    def _release_room(self, entry: CacheEntry) -> None:
        if entry.takes_room:
            self.taken -= entry.bytes
            self._shares.release(entry)
            entry.state = Stored()

    # ---- loads and evictions --------------------------------------------------------------------------------

    def require_room(self, entry: CacheEntry) -> None:
        """Raises `NoRoom` if this one doesn't fit beside all others that stay."""
        others = [other for other in self.entries.values() if other.stays and other is not entry]
        self._shares.require([entry], others)
        staying = sum(other.bytes for other in others)
        if staying + entry.bytes > self.limit:
            raise NoRoom(
                f"{entry.version.reference} takes {entry.bytes} bytes and {staying} of the {self.limit} that a model's "
                "adapters may take are pinned or being loaded; unload something or raise "
                "ADAPTER_SERVICE_MAX_RESIDENT_BYTES."
            )

    def idle_evictions(self, team: str, size: int) -> list[CacheEntry]:
        """What makes room for something of the team's that nobody waits for. Raises `NoRoom` where what could is in
        use."""
        idle = [entry for entry in self.entries.values() if entry.is_idle and entry.in_memory]
        own_excess = self._shares.excess(team, size)
        evictions = until(own_excess, (entry for entry in idle if entry.team == team))
        freed = sum(entry.bytes for entry in evictions)
        if own_excess > freed:
            raise NoRoom(f"{size} bytes don't fit into the share of team {team!r} beside what is in use at the moment.")
        evictions += until(self.taken + size - freed - self.limit, (entry for entry in idle if entry not in evictions))
        if self.taken + size - sum(entry.bytes for entry in evictions) > self.limit:
            raise NoRoom(f"{size} bytes don't fit into the limit beside what is in use at the moment.")
        return evictions

    def plan(self, turns: Iterable[frozenset[str]], running: Collection[str] = ()) -> Plan:
        """`turns` are the keys of each request that waits, in the order of their turns. What is `running` stays."""
        plan = Plan()
        keep = self._keep(turns, running, plan.unsatisfiable)
        now = time.monotonic()
        coming = sum(
            entry.bytes
            for entry in self.entries.values()
            if isinstance(entry.state, Loading) and now - entry.state.begun_at < SLOW_S
        )
        for entry in keep.values():
            # A failed load is reported to its caller; only later requests retry it.
            if entry.takes_room or (entry.failure is not None and not entry.holders):
                continue
            # The other half answers meanwhile.
            if coming and coming + entry.bytes > self.limit // 2:
                break
            plan.loads.append(entry)
            coming += entry.bytes
        plan.evictions.extend(self.entries[name] for name in self._unwanted)
        others = [e for name, e in self.entries.items() if name not in keep and e.takes_room]
        # What is loading is evicted last, because its load would be in vain.
        others.sort(key=lambda entry: isinstance(entry.state, Loading))
        # What is unwanted frees room of its team's share, too.
        others.sort(key=lambda entry: entry not in plan.evictions)
        own = self._shares.evictions(plan.loads, others)
        plan.evictions.extend(entry for entry in own if entry not in plan.evictions)
        excess = self.taken + sum(e.bytes for e in plan.loads) - sum(e.bytes for e in plan.evictions) - self.limit
        plan.evictions.extend(until(excess, (entry for entry in others if entry not in plan.evictions)))
        return plan

    def _keep(
        self,
        turns: Iterable[frozenset[str]],
        running: Collection[str],
        unsatisfiable: dict[frozenset[str], NoRoom],
    ) -> Mapping[str, CacheEntry]:
        stays = {name: entry for name, entry in self.entries.items() if entry.stays or name in running}
        keep, kept = dict(stays), sum(entry.bytes for entry in stays.values())
        for keys in turns:
            own = {name: self.entries[name] for name in keys if name in self.entries}
            needed = sum(entry.bytes for entry in own.values())
            pinned = sum(entry.bytes for name, entry in stays.items() if entry.pinned and name not in keys)
            if needed + pinned > self.limit:
                unsatisfiable[keys] = NoRoom(_too_much(own.values(), needed, pinned, self.limit))
                continue
            try:
                self._shares.require(own.values(), [entry for entry in stays.values() if entry.pinned])
            except NoRoom as error:
                unsatisfiable[keys] = error
                continue
            new = [entry for name, entry in own.items() if name not in keep]
            if not self._shares.have_room(new, beside=keep.values()):
                continue  # other teams' requests go on
            kept += sum(entry.bytes for entry in new)
            if kept > self.limit:
                return keep
            keep |= own
        # Those whose inputs are still being read.
        for name, entry in self.entries.items():
            is_awaited = name in self.absent and name not in keep and entry.failure is None
            fits = is_awaited and kept + entry.bytes <= self.limit
            if fits and self._shares.have_room([entry], beside=keep.values()):
                keep[name] = entry
                kept += entry.bytes
        return keep


def _too_much(entries: Iterable[CacheEntry], needed: int, pinned: int, limit: int) -> str:
    names = ", ".join(sorted(entry.version.reference for entry in entries))
    beside = f", {pinned} of which are pinned" if pinned else ""
    return (
        f"{names} take {needed} bytes, but a model's adapters may take {limit}{beside}; ask for fewer at once, unpin "
        "some or raise ADAPTER_SERVICE_MAX_RESIDENT_BYTES."
    )
