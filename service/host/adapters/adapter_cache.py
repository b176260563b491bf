"""Where the adapters of one hosted model are: stored (blob) -> staged (prepared tensors) -> resident (in the module).

Any thread may acquire, release, claim and unload; reading and preparing has threads of its own. Only the model's own
thread, between two forwards, changes the module and takes anything out: so what a forward needs stays until its end.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from datetime import UTC, datetime

from models_registry.errors import NoRoom, RegistryError
from models_registry.injection.adapted_model import AdaptedModel, PreparedAdapter
from models_registry.records import AdapterVersion
from models_registry.references import team_of
from service.host.adapters.cache_entry import CacheEntry, Evicting, Resident, Staged, Use
from service.host.adapters.loader import AdapterLoader
from service.host.adapters.memory_budget import MemoryBudget
from service.host.adapters.read_queue import ReadQueue
from service.protocol.stats import AdapterStats
from service.protocol.types import VersionResidency

log = logging.getLogger(__name__)

Failed = Callable[[str, BaseException], None]


class AdapterCache:
    """The adapters of one hosted model. `wake` is called when the model's thread should `rebalance`, `fail` with the
    key of a failed load and its error."""

    def __init__(
        self,
        adapted: AdaptedModel,
        preparer: AdapterLoader,
        stagers: Executor,
        max_bytes: int,
        wake: Callable[[], None],
        fail: Failed,
    ) -> None:
        self._adapted = adapted
        self._preparer = preparer
        self._to_read = ReadQueue(stagers, self._stage)
        self._wake = wake
        self._fail = fail
        self._changed = threading.Condition()
        self._budget = MemoryBudget(max_bytes)
        self._uses: dict[str, Use] = {}
        self._closed: RegistryError | None = None

    # ---- any thread -----------------------------------------------------------------------------------------

    def acquire(self, versions: Collection[AdapterVersion]) -> None:
        """A request names these, until `release`."""
        now = datetime.now(UTC)
        with self._changed:
            entries = [self._touch(version) for version in versions]
            self._budget.count_request(entries)
            for entry in entries:
                entry.holders += 1
                entry.use.last_used_at = now
                self._budget.update_indexes(entry)

    def release(self, versions: Iterable[AdapterVersion]) -> None:
        """The end of `acquire`."""
        with self._changed:
            for version in versions:
                entry = self._budget.entries[version.key]
                entry.holders -= 1
                self._budget.update_indexes(entry)
            is_balanced = self._budget.is_balanced
            self._changed.notify_all()
        if not is_balanced:
            self._wake()

    def prefetch(self, versions: Iterable[AdapterVersion]) -> None:
        """Begin to read, check and prepare those of these held versions that are not in memory, once however many ask.
        Without room they are loaded when it is their request's turn."""
        with self._changed:
            for version in versions:
                entry = self._budget.entries[version.key]
                if self._budget.reserve(entry):
                    self._submit(entry)
            is_balanced = self._budget.is_balanced
        if not is_balanced:
            self._wake()

    @contextmanager
    def claimed(self, version: AdapterVersion) -> Generator[None]:
        """Inside, `version` is loaded before what requests wait for, and stays. Raises `NoRoom` where it never fits
        beside what stays already. An earlier `unload` no longer counts."""
        with self._changed:
            entry = self._touch(version)
            entry.load_waiters += 1
        try:
            with self._changed:
                self._budget.require_room(entry)
                self._budget.want(entry)
            self._wake()
            yield
        finally:
            with self._changed:
                entry.load_waiters -= 1
                self._budget.update_indexes(entry)
            self._wake()  # it may have been unloaded meanwhile

    def wait_until_staged(self, version: AdapterVersion) -> None:
        """Of a claimed version. Raises `Damaged`, `NotFound`, `Unavailable`, `NoRoom`, or why the model was closed."""
        with self._changed:
            entry = self._budget.entries[version.key]
            self._changed.wait_for(lambda: entry.is_there or entry.failure or self._closed)
            if entry.failure is not None:
                raise entry.failure
            if self._closed is not None:
                raise self._closed

    def pin(self, version: AdapterVersion) -> None:
        """A claimed version stays, until `unload`. Raises `NoRoom` where it doesn't fit beside what stays already."""
        with self._changed:
            entry = self._budget.entries[version.key]
            self._budget.require_room(entry)
            entry.retention = "pinned"

    def unload(self, keys: Collection[str]) -> None:
        """Unpin these versions; they are evicted as soon as no request uses them."""
        with self._changed:
            for entry in self._entries(keys):
                entry.retention = "unwanted"
                self._budget.update_indexes(entry)
        self._wake()

    def forget(self, keys: Collection[str]) -> None:
        """As `unload`, for versions that were removed; their times of use are forgotten too."""
        with self._changed:
            for key in keys:
                if entry := self._budget.entries.get(key):
                    entry.retention = "unwanted"
                    self._budget.update_indexes(entry)
                else:
                    self._uses.pop(key, None)
        self._wake()

    def wait_until_freed(self, keys: Collection[str], timeout_s: float) -> bool:
        """Whether none of them takes memory any more. Returns at once where requests hold one."""
        with self._changed:
            self._changed.wait_for(lambda: self._freed(keys) is not None, timeout_s)
            return bool(self._freed(keys))

    def limit(self, max_bytes: int) -> None:
        """From now on the adapters may take so many bytes. What is more is evicted, unless it is pinned or in use."""
        with self._changed:
            self._budget.limit = max_bytes
        self._wake()

    def share(self, shares: Mapping[str, float]) -> None:
        """From now on the adapters of these teams may take these parts of the limit. More of theirs is evicted."""
        with self._changed:
            self._budget.share(shares)
        self._wake()

    def require_idle_room(self, version: AdapterVersion, prepared: PreparedAdapter) -> None:
        """Raises `NoRoom` where only what others use could make room."""
        with self._changed:
            self._budget.idle_evictions(team_of(version.adapter), prepared.bytes)

    def close(self, reason: RegistryError) -> None:
        """Load nothing any more: all that waits fails with `reason`."""
        with self._changed:
            self._closed = reason
            self._changed.notify_all()

    # ---- what is there --------------------------------------------------------------------------------------

    def absent(self) -> Collection[str]:
        """The keys that requests wait for."""
        with self._changed:
            return frozenset(self._budget.absent)

    @property
    def resident(self) -> tuple[str, ...]:
        """References in memory with the module, least recently used first."""
        with self._changed:
            return tuple(e.version.reference for e in self._budget.entries.values() if isinstance(e.state, Resident))

    @property
    def taken(self) -> int:
        """Bytes in memory or on their way into it; never more than the limit."""
        return self._budget.taken

    @property
    def stats(self) -> AdapterStats:
        with self._changed:
            return self._budget.stats

    def residency(self, keys: Iterable[str]) -> Mapping[str, VersionResidency]:
        """By key, of those that are known."""
        with self._changed:
            return {key: self._residency(key) for key in keys if key in self._uses}

    # ---- the model's own thread, between two forwards -------------------------------------------------------

    @property
    def is_balanced(self) -> bool:
        """Whether `rebalance` would change nothing."""
        with self._changed:
            return self._budget.is_balanced

    def rebalance(
        self, turns: Iterable[frozenset[str]], running: Collection[str] = ()
    ) -> Mapping[frozenset[str], NoRoom]:
        """Load the adapters that the requests in `turns` need, in this order, while they fit. Evict what is unwanted
        and what is in their way, but nothing that is `running`. Returns the requests that can never fit, and why."""
        with self._changed:
            plan = self._budget.plan(turns, running)
            self._budget.evict(plan.evictions)
        self._eject(plan.evictions)
        with self._changed:
            for entry in plan.loads:
                if self._budget.reserve(entry):
                    self._submit(entry)
        return plan.unsatisfiable

    def place(self, version: AdapterVersion, prepared: PreparedAdapter) -> None:
        """Make a version resident that its creator has prepared already. Raises `NoRoom` where only what others use
        could make room."""
        with self._changed:
            entry = self._budget.entries.get(version.key)
            team, is_placed = team_of(version.adapter), entry is not None and entry.takes_room
            evictions = [] if is_placed else self._budget.idle_evictions(team, prepared.bytes)
            self._budget.evict(evictions)
        self._eject(evictions)
        with self._changed:
            entry = self._touch(version)
            if not entry.in_memory and not self._budget.fill(entry, prepared):
                raise NoRoom(f"{version.reference} lost its room to a request.")
        self.make_resident([version])

    def make_resident(self, versions: Collection[AdapterVersion]) -> Mapping[str, float]:
        """Attach what is staged of these held versions. Returns when each was loaded (`time.monotonic()`)."""
        with self._changed:
            entries = {version.key: self._budget.entries[version.key] for version in versions}
        for name, entry in entries.items():
            if isinstance(entry.state, Staged):
                self._adapted.attach_adapter(name, entry.state.prepared)
                with self._changed:
                    self._budget.attach(entry)
                log.debug("attached adapter %s (%d bytes)", entry.version.reference, entry.bytes)
        return {name: entry.loaded_at for name, entry in entries.items()}

    def _eject(self, evictions: Iterable[CacheEntry]) -> None:
        """What was only loading has lost its place already, and may have got another since."""
        for entry in evictions:
            if not isinstance(entry.state, Evicting):
                continue
            if entry.state.tier == "resident":
                self._adapted.eject_adapter(entry.version.key)
                log.debug("ejected adapter %s (%d bytes)", entry.version.reference, entry.bytes)
            with self._changed:
                self._budget.free(entry)
                self._changed.notify_all()

    # ---- the stagers ----------------------------------------------------------------------------------------

    def _submit(self, entry: CacheEntry) -> None:
        """What is on its way already, though its place was given to others meanwhile, isn't read twice."""
        if not entry.is_read:
            entry.is_read = True
            self._to_read.add(entry)

    def _stage(self, entry: CacheEntry) -> None:
        begun = time.monotonic()
        try:
            prepared = self._preparer.prepare(entry.version, self._budget.limit)
        except BaseException as error:  # whatever it is, it is said to those who wait for this adapter
            self._note_failure(entry, error)
            return
        with self._changed:
            entry.is_read = False
            entry.use.load_s = time.monotonic() - begun
            if not entry.in_memory and not entry.is_idle:
                self._budget.fill(entry, prepared)
            elif not entry.in_memory:
                self._budget.free(entry)
            self._changed.notify_all()
        self._wake()

    def _note_failure(self, entry: CacheEntry, error: BaseException) -> None:
        with self._changed:
            entry.is_read = False
            self._budget.fail(entry, error)
            self._changed.notify_all()
        self._fail(entry.version.key, error)

    # ---- inside ---------------------------------------------------------------------------------------------

    def _touch(self, version: AdapterVersion) -> CacheEntry:
        """Its entry, now the one that was used last."""
        name = version.key
        entry = self._budget.entries.pop(name, None)
        if entry is None:
            entry = CacheEntry(version, self._preparer.estimate(version), self._uses.setdefault(name, Use(version)))
        self._budget.entries[name] = entry
        return entry

    def _entries(self, keys: Iterable[str]) -> list[CacheEntry]:
        return [self._budget.entries[key] for key in keys if key in self._budget.entries]

    def _freed(self, keys: Collection[str]) -> bool | None:
        """None while that may change without anybody's doing."""
        entries = self._entries(keys)
        if self._closed is not None or not any(entry.takes_room or entry.is_read for entry in entries):
            return True
        return False if any(entry.holders for entry in entries) else None

    def _residency(self, name: str) -> VersionResidency:
        use = self._uses[name]
        entry = self._budget.entries.get(name)
        if entry is None:
            return VersionResidency(last_used_at=use.last_used_at, load_s=use.load_s)
        return VersionResidency(
            entry.state.tier,
            entry.pinned,
            entry.holders,
            entry.bytes if entry.in_memory else 0,
            use.last_used_at,
            use.load_s,
        )
