"""Where the adapters of one hosted model are: stored (blob) -> staged (prepared tensors) -> resident (in the module).

A *holder* is a request that was admitted and isn't done. What somebody holds is never taken out of memory, so held
adapters may exceed the limit for a while; the rest goes, least recently used first, as soon as they are let go.

Any thread may hold, let go and stage. Only the model's own thread changes the module: `make_resident` and `trim`.
"""

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass

from models_registry.adapters.catalog import parse_stored
from models_registry.adapters.checkpoint import match_checkpoint
from models_registry.errors import NoRoom
from models_registry.injection.adapted_model import AdaptedModel, PreparedAdapter
from models_registry.records import AdapterVersion
from models_registry.safetensors_files import read_safetensors
from service.engine.request import Residency
from service.engine.snapshot import slot

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Entry:
    version: AdapterVersion
    state: Residency = "stored"
    holders: int = 0
    bytes: int = 0
    prepared: PreparedAdapter | None = None
    staging: Future[None] | None = None
    unwanted: bool = False


class AdapterResidency:
    """The adapters of one hosted model. `entries` is in order of last use, oldest first."""

    def __init__(
        self,
        adapted: AdaptedModel,
        read_weights: Callable[[AdapterVersion], bytes],
        stagers: Executor,
        max_bytes: int,
    ) -> None:
        self._adapted = adapted
        self._read_weights = read_weights
        self._stagers = stagers
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._entries: dict[str, Entry] = {}

    # ---- any thread -----------------------------------------------------------------------------------------

    def hold(self, versions: Collection[AdapterVersion]) -> None:
        """Keep these in memory once they are there, until `let_go`."""
        with self._lock:
            for version in versions:
                entry = self._entries.pop(slot(version), None) or Entry(version)
                entry.holders += 1
                self._entries[slot(version)] = entry

    def let_go(self, versions: Iterable[AdapterVersion]) -> bool:
        """The end of `hold`. True if something now has to leave memory, which `trim` does."""
        with self._lock:
            for version in versions:
                entry = self._entries[slot(version)]
                entry.holders -= 1
                if entry.holders == 0 and entry.state == "stored" and entry.staging is None:
                    del self._entries[slot(version)]
            return bool(self._leavers())

    def stage(self, versions: Iterable[AdapterVersion]) -> list[Future[None]]:
        """Begin to read, check and prepare those of these held versions that are not in memory, once however many ask.
        The futures raise `Damaged`, `NotFound`, `Unavailable`, `NoRoom`."""
        with self._lock:
            entries = [self._entries[slot(version)] for version in versions]
            for entry in entries:
                if entry.state == "stored" and entry.staging is None:
                    entry.staging = self._stagers.submit(self._stage, entry)
            return [entry.staging for entry in entries if entry.staging is not None]

    def offer(self, version: AdapterVersion, prepared: PreparedAdapter) -> None:
        """Stage a held version that its creator has prepared already. Raises `NoRoom` if only what others hold could
        make room for it."""
        with self._lock:
            entry = self._entries[slot(version)]
            held = sum(other.bytes for other in self._entries.values() if other.holders)
            if held + prepared.bytes > self._max_bytes:
                raise NoRoom(f"{prepared.bytes} bytes of {version.reference} don't fit into the limit at the moment.")
            if entry.state == "stored":
                self._fill(entry, prepared)

    def unload(self, adapter: str, version: AdapterVersion | None = None) -> None:
        """Take all versions of `adapter`, or only `version`, out of memory at the first `trim` at which nobody holds
        them."""
        with self._lock:
            for entry in self._of(adapter):
                if version is None or slot(entry.version) == slot(version):
                    entry.unwanted = True

    def unload_gone(self, gone: Callable[[AdapterVersion], bool]) -> bool:
        """As `unload`, for the versions that are `gone`. True if something now has to leave memory."""
        with self._lock:
            for entry in self._entries.values():
                entry.unwanted |= gone(entry.version)
            return bool(self._leavers())

    def keep(self, version: AdapterVersion) -> None:
        """Somebody asked for this held version by name: an earlier `unload` no longer counts."""
        with self._lock:
            self._entries[slot(version)].unwanted = False

    def in_flight(self, adapter: str) -> int:
        with self._lock:
            return sum(entry.holders for entry in self._of(adapter))

    def residency(self, versions: Iterable[AdapterVersion]) -> Mapping[int, Residency]:
        with self._lock:
            entries = [(version.version, self._entries.get(slot(version))) for version in versions]
            return {number: entry.state if entry else "stored" for number, entry in entries}

    @property
    def resident(self) -> tuple[str, ...]:
        """References in memory with the module, least recently used first."""
        with self._lock:
            return tuple(entry.version.reference for entry in self._entries.values() if entry.state == "resident")

    # ---- the model's own thread, between two forwards -------------------------------------------------------

    def make_resident(self, versions: Collection[AdapterVersion]) -> None:
        """Attach what is staged of these held versions; others leave first if there is no room."""
        self.trim()
        with self._lock:
            entries = [self._entries[slot(version)] for version in versions]
        for entry in entries:
            if entry.prepared is not None:
                self._adapted.attach_adapter(slot(entry.version), entry.prepared)
                with self._lock:
                    entry.state, entry.prepared = "resident", None
                log.info("attached adapter %s (%d bytes)", entry.version.reference, entry.bytes)

    def trim(self) -> None:
        """Take out what is unwanted or over the limit and held by nobody."""
        with self._lock:
            leavers = self._leavers()
            for entry in leavers:
                del self._entries[slot(entry.version)]
        for entry in leavers:
            if entry.state == "resident":
                self._adapted.eject_adapter(slot(entry.version))
                log.info("ejected adapter %s (%d bytes)", entry.version.reference, entry.bytes)

    # ---- inside ---------------------------------------------------------------------------------------------

    def _stage(self, entry: Entry) -> None:
        try:
            prepared = self._prepare(entry.version)
        except BaseException:
            with self._lock:
                entry.staging = None
                self._drop_if_idle(entry)
            raise
        with self._lock:
            entry.staging = None
            if not self._drop_if_idle(entry) and entry.state == "stored":
                self._fill(entry, prepared)

    def _prepare(self, version: AdapterVersion) -> PreparedAdapter:
        tensors = read_safetensors(self._read_weights(version))
        config = parse_stored(version.config)
        prepared = self._adapted.prepare_adapter(match_checkpoint(config, tensors, self._adapted.architecture))
        if prepared.bytes > self._max_bytes:
            raise NoRoom(
                f"{version.reference} takes {prepared.bytes} bytes, but all adapters of a model may take "
                f"{self._max_bytes}; raise ADAPTER_SERVICE_MAX_RESIDENT_BYTES."
            )
        return prepared

    def _fill(self, entry: Entry, prepared: PreparedAdapter) -> None:
        entry.state, entry.prepared, entry.bytes = "staged", prepared, prepared.bytes

    def _drop_if_idle(self, entry: Entry) -> bool:
        if entry.holders == 0:
            del self._entries[slot(entry.version)]
        return entry.holders == 0

    def _of(self, adapter: str) -> list[Entry]:
        return [entry for entry in self._entries.values() if entry.version.adapter == adapter]

    def _leavers(self) -> list[Entry]:
        excess = sum(entry.bytes for entry in self._entries.values()) - self._max_bytes
        leavers: list[Entry] = []
        for entry in self._entries.values():
            if entry.holders == 0 and entry.staging is None and (entry.unwanted or excess > 0):
                leavers.append(entry)
                excess -= entry.bytes
        return leavers
