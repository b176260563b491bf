"""The byte limit of one hosted model's adapters: who is there, who may come, who has to leave for it.

What is pinned, or is being loaded by name, stays. Then come the adapters of the requests that are next, in turn, as
many as fit. Whatever else is there leaves when its room is needed, least recently used first. Bookkeeping only: no
threads, no tensors are touched.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from models_registry.errors import NoRoom
from models_registry.injection.adapted_model import PreparedAdapter
from service.host.adapters.cache_entry import CacheEntry, Evicting, Loading, Resident, Staged, Stored
from service.protocol.stats import AdapterStats

# What has been on its way for longer waits for a slow store, and doesn't keep others from being fetched beside it.
SLOW_S = 1.0


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
    def is_balanced(self) -> bool:
        """Whether a plan would change nothing."""
        return not self._unplaced and not self._unwanted and not self._has_too_much

    @property
    def _has_too_much(self) -> bool:
        """Whether something has to leave, and can, because the limit was lowered."""
        return self.taken > self.limit and any(entry.is_idle and entry.in_memory for entry in self.entries.values())

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
        )

    # ---- the steps of an entry ------------------------------------------------------------------------------

    def update_indexes(self, entry: CacheEntry) -> None:
        """After any change of an entry: note whether somebody waits for it or it has to go; forget it if neither."""
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
        if entry.takes_room or self.taken + entry.bytes > self.limit:
            return False
        self.taken += entry.bytes
        entry.state = Loading(time.monotonic())
        self.update_indexes(entry)
        return True

    def fill(self, entry: CacheEntry, prepared: PreparedAdapter) -> bool:
        """It is loaded. False where it takes more than was reserved and doesn't fit: then it has to load again."""
        self._release_room(entry)
        entry.bytes = prepared.bytes
        fits = self.taken + entry.bytes <= self.limit
        if fits:
            self.taken += entry.bytes
            entry.state = Staged(prepared, time.monotonic())
            self._loads += 1
        self.update_indexes(entry)
        return fits

    def fail(self, entry: CacheEntry, error: BaseException) -> None:
        """Its load failed. What came into memory another way meanwhile stays."""
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

    def _release_room(self, entry: CacheEntry) -> None:
        if entry.takes_room:
            self.taken -= entry.bytes
            entry.state = Stored()

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

    def idle_evictions(self, size: int) -> list[CacheEntry]:
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
        coming = sum(
            entry.bytes
            for entry in self.entries.values()
            if isinstance(entry.state, Loading) and now - entry.state.begun_at < SLOW_S
        )
        for entry in keep.values():
            # A failed load is reported to its caller; only later requests retry it.
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
        # What is loading goes last, because its load would be in vain.
        others.sort(key=lambda entry: isinstance(entry.state, Loading))
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
