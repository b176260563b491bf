"""What the registry says, in memory: requests resolve their references here and never read the database.

A view is immutable and swapped as a whole, so that a request sees one generation. Every write of this process goes
through the engine, which refreshes after it; what another process wrote is seen at the next refresh.
"""

import math
import threading
import time
from collections.abc import Collection
from dataclasses import replace

from models_registry.errors import NotFound, Unavailable
from models_registry.records import Adapter, AdapterVersion, RegistrySnapshot
from models_registry.references import name_taken, named_by, pick_version, require_name, short_name
from models_registry.registry import Registry
from models_registry.rollouts import draw_version


class Snapshot:
    """The newest view. Reading it is free and safe from any thread."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._refreshing = threading.Lock()
        self._view = RegistrySnapshot(generation=-1, adapters={})
        self._read_at = -math.inf
        self._trouble: Unavailable | None = None

    @property
    def view(self) -> RegistrySnapshot:
        return self._view

    def refresh(self) -> None:
        """Catch up with the registry, reading what changed since. Raises `Unavailable`; the old view then stays.

        Of those who ask while one is reading, the next reads for all: none waits for a database that hangs more than
        twice.
        """
        asked_at = time.monotonic()
        with self._refreshing:
            if self._read_at <= asked_at:
                self._read()
            if self._trouble is not None:
                raise Unavailable(self._trouble.detail) from self._trouble

    def _read(self) -> None:
        begun_at, trouble = time.monotonic(), None
        try:
            self._view = self._registry.snapshot(self._view)
        except Unavailable as error:
            trouble = error
        self._read_at, self._trouble = begun_at, trouble


def without(view: RegistrySnapshot, removed: Collection[str]) -> RegistrySnapshot:
    """The view in which these adapters (`tone`) and versions (`tone@3`) are name: whatever names one is not found."""
    if not removed:
        return view
    adapters = dict(view.adapters)
    for name in removed:
        adapter = adapters.pop(named_by(name), None)
        left = [] if adapter is None else [v for v in adapter.versions if name not in {adapter.name, v.reference}]
        if adapter is not None and left:
            adapters[adapter.name] = replace(adapter, versions=tuple(left))
    return replace(view, adapters=adapters)


def find_adapter(view: RegistrySnapshot, name: str) -> Adapter:
    """Raises `NotFound`."""
    if (adapter := view.adapters.get(name)) is None:
        raise NotFound(f"There is no adapter {name!r}.")
    return adapter


def first_adapter(view: RegistrySnapshot, model: str) -> Adapter | None:
    """The oldest of the model's adapters."""
    return min((a for a in view.adapters.values() if a.model == model), key=lambda a: a.created_at, default=None)


def resolve(view: RegistrySnapshot, reference: str) -> AdapterVersion:
    """The exact version that `name`, `name@3` or `name@alias` means. Raises `NotFound` that says which part."""
    return pick_version(find_adapter(view, named_by(reference)), reference)


def draw(view: RegistrySnapshot, reference: str, routing_key: str) -> AdapterVersion:
    """As `resolve`, for a request with that routing key: of an alias that splits, one of its versions."""
    return draw_version(find_adapter(view, named_by(reference)), reference, routing_key)


def require_free(view: RegistrySnapshot, name: str, model: str) -> None:
    """Raise `Invalid` if `name` can't name a new adapter on `model`, `Conflict` if it is taken."""
    require_name("name", short_name(name))
    if taken := view.adapters.get(name):
        raise name_taken(name, taken.model, model)


def is_there(view: RegistrySnapshot, version: AdapterVersion) -> bool:
    """Whether this very version exists, not a later one under the same reference."""
    adapter = view.adapters.get(version.adapter)
    return adapter is not None and any(version.key == other.key for other in adapter.versions)
