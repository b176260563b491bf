"""The byte limit of one hosted model's adapters: who is there, who may come, who has to leave for it.

What is pinned, or is being loaded by name, stays. Then come the adapters of the requests that are next, in turn, as
many as fit. Whatever else is there leaves when its room is needed, least recently used first. Bookkeeping only: no
threads, no tensors are touched.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from models_registry.errors import NoRoom
from models_registry.injection.adapted_model import PreparedAdapter
from models_registry.records import AdapterVersion
from service.protocol.stats import AdapterStats
from service.protocol.types import Residency

# What has been on its way for longer waits for a slow store, and doesn't keep others from being fetched beside it.
SLOW_S = 1.0


@dataclass(slots=True)
class Use:
    """What is remembered of a version after it left."""

    version: AdapterVersion
    last_used_at: datetime | None = None
    load_s: float | None = None


@dataclass(slots=True, eq=False)
class CacheEntry:
    """A version that somebody holds or that takes room: in memory, or `reserved` while it is on its way.

    `bytes` is an estimate until it has been prepared once. A *holder* is a request that was admitted and isn't done; a
    *claim* somebody who loads it by name, and meanwhile keeps it from being evicted as a pin does. What is `leaving` is
    in memory still, but can't stay any more.
    """

    version: AdapterVersion
    bytes: int
    use: Use
    tier: Residency = "stored"
    holders: int = 0
    load_waiters: int = 0
    pinned: bool = False
    unwanted: bool = False
    reserved: bool = False
    staging: bool = False
    leaving: bool = False
    failure: BaseException | None = None
    begun_at: float = 0.0
    came_at: float = 0.0
    prepared: PreparedAdapter | None = None

    @property
    def in_memory(self) -> bool:
        return self.tier != "stored"

    @property
    def is_there(self) -> bool:
        """In memory, and only what is decided later can take it out."""
        return self.in_memory and not self.leaving

    @property
    def takes_room(self) -> bool:
        return self.in_memory or self.reserved

    @property
    def stays(self) -> bool:
        return self.pinned or self.load_waiters > 0

    @property
    def is_idle(self) -> bool:
        return self.holders == 0 and not self.stays


@dataclass(frozen=True, slots=True)
class Plan:
    """Who leaves, who then comes, and which requests need more than there can ever be, with the reason."""

    evictions: list[CacheEntry] = field(default_factory=list["CacheEntry"])
    loads: list[CacheEntry] = field(default_factory=list["CacheEntry"])
    unsatisfiable: dict[frozenset[str], NoRoom] = field(default_factory=dict[frozenset[str], NoRoom])


class MemoryBudget:
    """`entries` is in order of last use, oldest first. Not for several threads."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken = 0
        self.entries: dict[str, CacheEntry] = {}
        self.failures = 0
        """How often something that was to come could not."""
        self._loads = self._evictions = 0
        self.absent: set[str] = set()
        """Slots that somebody waits for."""
        self._unplaced: set[str] = set()
        self._unwanted: set[str] = set()

    @property
    def is_settled(self) -> bool:
        """Whether a plan would change nothing."""
        return not self._unplaced and not self._unwanted and not self._has_too_much

    @property
    def _has_too_much(self) -> bool:
        """Whether something has to leave, and can, because the limit was lowered."""
        return self.taken > self.limit and any(entry.is_idle and entry.in_memory for entry in self.entries.values())

    @property
    def stats(self) -> AdapterStats:
        there = [entry for entry in self.entries.values() if entry.in_memory]
        resident = sum(entry.tier == "resident" for entry in there)
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
        )

    # ---- who is there ---------------------------------------------------------------------------------------

    def settle(self, entry: CacheEntry) -> None:
        """After any change of an entry: note whether somebody waits for it or it has to leave; forget it if neither."""
        name = entry.version.key
        is_absent = not entry.in_memory and (entry.holders > 0 or entry.load_waiters > 0)
        is_unwanted = entry.unwanted and entry.is_idle and entry.in_memory
        for names, belongs in (
            (self.absent, is_absent),
            (self._unplaced, is_absent and not entry.reserved),
            (self._unwanted, is_unwanted),
        ):
            (names.add if belongs else names.discard)(name)
        if entry.is_idle and not entry.takes_room and not entry.staging:
            self.entries.pop(name, None)

    def reserve(self, entry: CacheEntry) -> bool:
        """Keep a place for what begins to come now. False where there isn't one."""
        if self.taken + entry.bytes > self.limit:
            return False
        self.taken += entry.bytes
        entry.reserved, entry.failure, entry.begun_at = True, None, time.monotonic()
        self.settle(entry)
        return True

    def fill(self, entry: CacheEntry, prepared: PreparedAdapter) -> bool:
        """It has come. False where it takes more than was reserved and doesn't fit: then it has to come again."""
        self._clear(entry)
        entry.bytes = prepared.bytes
        fits = self.taken + entry.bytes <= self.limit
        if fits:
            self.taken += entry.bytes
            entry.tier, entry.prepared, entry.came_at = "staged", prepared, time.monotonic()
            self._loads += 1
        self.settle(entry)
        return fits

    def dismiss(self, entries: Iterable[CacheEntry]) -> None:
        """They are about to be taken out. Who loads one meanwhile then waits until it is back."""
        for entry in entries:
            entry.leaving = True

    def vacate(self, entry: CacheEntry) -> None:
        """Give its place free."""
        entry.leaving = False
        self._evictions += entry.in_memory and not entry.unwanted
        self._clear(entry)
        self.settle(entry)

    def _clear(self, entry: CacheEntry) -> None:
        if entry.takes_room:
            self.taken -= entry.bytes
        entry.reserved, entry.tier, entry.prepared = False, "stored", None

    # ---- who comes and who leaves ---------------------------------------------------------------------------

    def require_room(self, entry: CacheEntry) -> None:
        """Raises `NoRoom` if this one doesn't fit beside all others that stay."""
        staying = sum(other.bytes for other in self.entries.values() if other.stays and other is not entry)
        if staying + entry.bytes > self.limit:
            raise NoRoom(
                f"{entry.version.reference} takes {entry.bytes} bytes and {staying} of the {self.limit} that a model's "
                "adapters may take are pinned or being loaded; unload something or raise "
                "ADAPTER_SERVICE_MAX_RESIDENT_BYTES."
            )

    def idle_leavers(self, size: int) -> list[CacheEntry]:
        """Who leaves to make room for something that nobody waits for. Raises `NoRoom` where others are in use."""
        idle = [entry for entry in self.entries.values() if entry.is_idle and entry.in_memory]
        evictions = self._until(self.taken + size - self.limit, idle)
        if self.taken + size - sum(leaver.bytes for leaver in evictions) > self.limit:
            raise NoRoom(f"{size} bytes don't fit into the limit beside what is in use at the moment.")
        return evictions

    def plan(self, turns: Iterable[frozenset[str]]) -> Plan:
        """`turns` are the keys of each request that waits, in the order of their turns."""
        plan = Plan()
        keep = self._keep(turns, plan.unsatisfiable)
        now = time.monotonic()
        coming = sum(e.bytes for e in self.entries.values() if e.reserved and now - e.begun_at < SLOW_S)
        for entry in keep.values():
            # Who loads what can't come is told so; only requests that have come since try it once more.
            if entry.takes_room or (entry.failure is not None and not entry.holders):
                continue
            # The other half goes on answering meanwhile.
            if coming and coming + entry.bytes > self.limit // 2:
                break
            plan.loads.append(entry)
            coming += entry.bytes
        plan.evictions.extend(self.entries[name] for name in self._unwanted)
        excess = self.taken + sum(e.bytes for e in plan.loads) - sum(e.bytes for e in plan.evictions) - self.limit
        others = [
            e for name, e in self.entries.items() if name not in keep and e.takes_room and e not in plan.evictions
        ]
        others.sort(key=lambda entry: entry.reserved)  # what is only on its way goes last, for it would come in vain
        plan.evictions.extend(self._until(excess, others))
        return plan

    def _keep(
        self, turns: Iterable[frozenset[str]], unsatisfiable: dict[frozenset[str], NoRoom]
    ) -> Mapping[str, CacheEntry]:
        stays = {name: entry for name, entry in self.entries.items() if entry.stays}
        keep, kept = dict(stays), sum(entry.bytes for entry in stays.values())
        for keys in turns:
            own = {name: self.entries[name] for name in keys if name in self.entries}
            needed = sum(entry.bytes for entry in own.values())
            pinned = sum(entry.bytes for name, entry in stays.items() if entry.pinned and name not in keys)
            if needed + pinned > self.limit:
                unsatisfiable[keys] = NoRoom(_too_much(own.values(), needed, pinned, self.limit))
                continue
            kept += sum(entry.bytes for name, entry in own.items() if name not in keep)
            if kept > self.limit:
                return keep
            keep |= own
        # Those whose inputs are still being read.
        for name, entry in self.entries.items():
            is_awaited = name in self.absent and name not in keep and entry.failure is None
            if is_awaited and kept + entry.bytes <= self.limit:
                keep[name] = entry
                kept += entry.bytes
        return keep

    @staticmethod
    def _until(excess: int, candidates: Iterable[CacheEntry]) -> list[CacheEntry]:
        evictions: list[CacheEntry] = []
        for entry in candidates:
            if excess <= 0:
                break
            evictions.append(entry)
            excess -= entry.bytes
        return evictions


def _too_much(entries: Iterable[CacheEntry], needed: int, pinned: int, limit: int) -> str:
    names = ", ".join(sorted(entry.version.reference for entry in entries))
    beside = f", {pinned} of which are pinned" if pinned else ""
    return (
        f"{names} take {needed} bytes, but a model's adapters may take {limit}{beside}; ask for fewer at once, unpin "
        "some or raise ADAPTER_SERVICE_MAX_RESIDENT_BYTES."
    )
