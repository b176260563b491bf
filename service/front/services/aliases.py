"""The verbs of aliases: a rollout, in full or in part, and the way back."""

from collections.abc import Collection

from models_registry.records import Adapter, Rollout
from models_registry.registry import Registry
from service.front.resolution.registry_snapshot import Snapshot, find_adapter


class Aliases:
    """Every verb may block. What is moved here is in force here at once."""

    def __init__(self, registry: Registry, snapshot: Snapshot) -> None:
        self._registry = registry
        self._snapshot = snapshot

    def move(
        self,
        name: str,
        alias: str,
        to: int | Rollout,
        *,
        if_match: Collection[str] | None = None,
        reason: str | None = None,
    ) -> Adapter:
        """From now on `name@alias` is that version, or is divided so; `if_match` as in `Adapters.add_version`. Raises
        `Invalid` for the alias or the division, `NotFound`, `Stale`."""
        self._registry.move_alias(name, alias, to, if_match=if_match, reason=reason)
        return self._find(name)

    def roll_back(self, name: str, alias: str, reason: str | None = None) -> Adapter:
        """From now on `name@alias` is what it was before its last move. Raises `NotFound`, `Conflict` where there is no
        way back."""
        self._registry.roll_back_alias(name, alias, reason)
        return self._find(name)

    def remove(self, name: str, alias: str) -> None:
        """Raises `NotFound`."""
        self._registry.remove_alias(name, alias)
        self._snapshot.refresh()

    def _find(self, name: str) -> Adapter:
        self._snapshot.refresh()
        return find_adapter(self._snapshot.view, name)
