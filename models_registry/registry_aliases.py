"""The registry's side of aliases: where they point, and what was counted of their requests."""

from collections.abc import Collection
from typing import TypeAlias

from models_registry.alias_counters import AliasCounts
from models_registry.records import AdapterVersion, Rollout
from models_registry.references import require_alias
from models_registry.registry_blobs import RegistryBlobs
from models_registry.storage import adapter_rows, alias_count_rows, alias_rows

IfMatch: TypeAlias = Collection[str] | None
"""Digests (hex) of which the newest version must have one; None where any will do."""


class RegistryAliases(RegistryBlobs):
    """What `Registry` does with aliases."""

    def move_alias(
        self, name: str, alias: str, to: int | Rollout, *, if_match: IfMatch = None, reason: str | None = None
    ) -> AdapterVersion:
        """Let `alias` point to that version, or divide its requests so, in one step, wherever it pointed before; gives
        the version, of several the one with the greatest share. `if_match` as in `add_version`; `reason` stands in the
        event. Raises `Invalid` for the alias or the division (all faults at once), `NotFound` for the adapter or the
        version, `Stale`."""
        require_alias(alias)
        with self._write() as session:
            adapter_rows.require_newest(session, name, if_match)
            return alias_rows.move_alias(session, name, alias, to, reason)

    def roll_back_alias(self, name: str, alias: str, reason: str | None = None) -> AdapterVersion:
        """Let `alias` be what it was before its last move that wasn't rolled back yet, in one step that is an event of
        its own; gives the version as `move_alias`. Raises `NotFound`, and `Conflict` where it was never anything else,
        or a version that it was is gone."""
        with self._write() as session:
            return alias_rows.roll_back_alias(session, name, alias, reason)

    def remove_alias(self, name: str, alias: str) -> None:
        """Raises `NotFound`."""
        with self._write() as session:
            alias_rows.remove_alias(session, name, alias)

    def add_alias_counts(self, counts: AliasCounts) -> None:
        """What was counted of aliases' requests since; removed aliases are left out."""
        with self._database.write() as session:
            alias_count_rows.add_counts(session, counts)

    def read_alias_counts(self, name: str, alias: str) -> AliasCounts:
        """All that was counted of the alias's requests."""
        with self._database.read() as session:
            return alias_count_rows.read_counts(session, name, alias)
