"""One adapter version in a host: where it is, and who wants it there.

    Stored --reserve--> Loading --fill--> Staged --attach--> Resident
       ^                   |                 |                   |
       +---free, fail------+                 +------evict--------+--> Evicting --free--> Stored

`MemoryBudget` alone makes these steps, because each one also counts bytes.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Literal, TypeAlias

from models_registry.injection.adapted_model import PreparedAdapter
from models_registry.records import AdapterVersion
from models_registry.references import team_of
from service.protocol.types import Residency


@dataclass(frozen=True, slots=True)
class Stored:
    """Takes no memory. `failure` is why its last load failed; a claim clears it."""

    tier: ClassVar[Residency] = "stored"
    failure: BaseException | None = None


@dataclass(frozen=True, slots=True)
class Loading:
    """Its place is reserved since `begun_at` (`time.monotonic()`), and a stager reads it."""

    tier: ClassVar[Residency] = "stored"
    begun_at: float


@dataclass(frozen=True, slots=True)
class Staged:
    """Its tensors are prepared; the module doesn't know them yet."""

    tier: ClassVar[Residency] = "staged"
    prepared: PreparedAdapter
    loaded_at: float


@dataclass(frozen=True, slots=True)
class Resident:
    """Attached to the module."""

    tier: ClassVar[Residency] = "resident"
    loaded_at: float


@dataclass(frozen=True, slots=True)
class Evicting:
    """Still in memory, but it was decided that it is taken out."""

    tier: Residency
    loaded_at: float


State: TypeAlias = Stored | Loading | Staged | Resident | Evicting
Retention: TypeAlias = Literal["evictable", "pinned", "unwanted"]


@dataclass(slots=True)
class Use:
    """What is remembered of a version after it was evicted."""

    version: AdapterVersion
    last_used_at: datetime | None = None
    load_s: float | None = None


@dataclass(slots=True, eq=False)
class CacheEntry:
    """A version that somebody holds or that takes room.

    `bytes` is an estimate until it has been prepared once. A *holder* is a request that was admitted and isn't done; a
    *load waiter* loads it by name, and meanwhile keeps it from being evicted as a pin does. What is `unwanted` is
    evicted as soon as nobody holds it. `is_read` while a stager has it, in whatever state: its place may have been
    given to others, or its creator may have brought the tensors himself.
    """

    version: AdapterVersion
    bytes: int
    use: Use
    state: State = Stored()
    retention: Retention = "evictable"
    holders: int = 0
    load_waiters: int = 0
    is_read: bool = False

    @property
    def team(self) -> str:
        """The team whose share of the memory it takes: its owner's, whichever team uses it."""
        return team_of(self.version.adapter)

    @property
    def in_memory(self) -> bool:
        return isinstance(self.state, Staged | Resident | Evicting)

    @property
    def is_there(self) -> bool:
        """In memory, and only what is decided later can take it out."""
        return isinstance(self.state, Staged | Resident)

    @property
    def loaded_at(self) -> float:
        """When it was loaded (`time.monotonic()`); 0 where it isn't in memory."""
        return self.state.loaded_at if isinstance(self.state, Staged | Resident | Evicting) else 0.0

    @property
    def takes_room(self) -> bool:
        return not isinstance(self.state, Stored)

    @property
    def failure(self) -> BaseException | None:
        return self.state.failure if isinstance(self.state, Stored) else None

    @property
    def pinned(self) -> bool:
        return self.retention == "pinned"

    @property
    def unwanted(self) -> bool:
        return self.retention == "unwanted"

    @property
    def stays(self) -> bool:
        return self.pinned or self.load_waiters > 0

    @property
    def is_idle(self) -> bool:
        return self.holders == 0 and not self.stays

    @property
    def is_awaited(self) -> bool:
        return not self.in_memory and (self.holders > 0 or self.load_waiters > 0)
