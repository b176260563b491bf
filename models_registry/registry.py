"""The door at rest: what base models and adapters there are. One method is one transaction, committed on return.

Says what belongs together and in which order; the statements are in `storage`. Hands out frozen records only. Knows no
live module: that an adapter fits its base model is checked before. A blob is put before the row that
names it, so a crash leaves no row without its bytes.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Unpack

from models_registry.adapter_searches import AdapterSearch, FoundAdapter, PlaceInList
from models_registry.event_records import ALL_EVENTS, Event, EventFilter
from models_registry.records import (
    Adapter,
    AdapterVersion,
    AdapterWords,
    Architecture,
    BaseModel,
    Once,
    RegistrySnapshot,
    Source,
)
from models_registry.references import named_by, pick_version, require_name, short_name
from models_registry.registry_aliases import IfMatch, RegistryAliases
from models_registry.storage import (
    adapter_rows,
    adapter_search,
    base_model_rows,
    team_quotas,
)
from models_registry.storage.adapter_rows import NO_LABELS, VersionContent
from models_registry.storage.base_model_rows import ARCHITECTURE, BaseModelChange, BaseModelOptions
from models_registry.storage.creation_keys import (
    recall_base_model,
    recall_version,
    remember_base_model,
    remember_version,
)
from models_registry.storage.events import read_events, read_newest_events
from models_registry.storage.reading import (
    base_model_record,
    find_adapter,
    find_base_model_row,
    list_base_model_rows,
)
from models_registry.storage.snapshots import read_generation, read_snapshot


class Registry(RegistryAliases):
    """Safe under threads and processes. Besides what it says, every method raises `Unavailable` while a store is away,
    and those that write raise `NoRoom` when it is full. A method that raises has changed nothing.

    A creation with a `Once` is remembered under its key for 24 hours: a second one raises `Conflict`, and
    `find_registered` or `find_created` returns what the first one created.
    """

    # ---- base models --------------------------------------------------------------------------------------------

    def register_base_model(
        self, id: str, source: Source, *, once: Once | None = None, **wishes: Unpack[BaseModelOptions]
    ) -> BaseModel:
        """A new base model that its owner wants hosted. Raises `Invalid` for the id, `Conflict` if it is taken."""
        require_name("id", id)
        with self._write() as session:
            model = base_model_record(base_model_rows.add_base_model(session, id, source, wishes))
            remember_base_model(session, once, model)
            return model

    def withdraw_base_model(self, model: BaseModel, once: Once | None = None) -> bool:
        """Undo a registration, and forget its key. Whether it is gone: one that has got adapters since stays."""
        with self._write() as session:
            return base_model_rows.withdraw_base_model(session, model.id, model.created_at, once)

    def find_registered(self, once: Once) -> BaseModel | None:
        """What was registered under this key, as it is now. Raises `Conflict` if it was for another, or is removed."""
        with self._database.read() as session:
            return recall_base_model(session, once)

    def record_built(self, id: str, architecture: Architecture, registered_at: datetime | None = None) -> BaseModel:
        """The model was built. The first time pins its fingerprint; later ones only clear the last failure.

        Raises `NotFound`, also where the model that was `registered_at` that time isn't there any more, and `Conflict`
        for other weights than the pinned ones.
        """
        with self._write() as session:
            return base_model_record(base_model_rows.note_built(session, id, architecture, registered_at))

    def record_failure(self, id: str, reason: str, registered_at: datetime | None = None) -> BaseModel:
        """The model could not be built. Raises `NotFound` as `record_built`."""
        with self._write() as session:
            return base_model_record(base_model_rows.note_failure(session, id, reason, registered_at))

    def set_hosted(self, id: str, hosted: bool) -> BaseModel:
        """Whether the owner wants the model in memory. Raises `NotFound`."""
        with self._write() as session:
            return base_model_record(base_model_rows.note_hosted(session, id, hosted))

    def find_base_model(self, id: str) -> BaseModel:
        """Raises `NotFound`."""
        with self._database.read() as session:
            return base_model_record(find_base_model_row(session, id))

    def find_architecture(self, id: str) -> Architecture | None:
        """The module list of the model as it was built, or None if it never was. Raises `NotFound`."""
        with self._database.read() as session:
            stored = find_base_model_row(session, id).architecture
            return None if stored is None else ARCHITECTURE.validate_json(stored)

    def change_base_model(self, id: str, change: BaseModelChange) -> BaseModel:
        """What is left out stays as it is. Raises `NotFound`, `Invalid` for unknown teams."""
        with self._write() as session:
            return base_model_record(base_model_rows.change(session, id, change))

    def list_base_models(
        self, limit: int, after: str | None = None, among: Collection[str] | None = None, hidden: Collection[str] = ()
    ) -> tuple[BaseModel, ...]:
        """At most `limit` base models by id, those after the id `after`, `among` these ids and not `hidden`."""
        with self._database.read() as session:
            rows = list_base_model_rows(session, limit, after, among, hidden)
            return tuple(base_model_record(row) for row in rows)

    def remove_base_model(self, id: str, cascade: bool = False) -> None:
        """Forget a base model, with `cascade` its adapters and their aliases too. The blobs stay.

        Raises `NotFound`, and `Conflict` naming the adapters that refer to it.
        """
        with self._write() as session:
            base_model_rows.remove_base_model(session, id, cascade)

    # ---- adapters and versions ----------------------------------------------------------------------------------

    def create_adapter(
        self,
        model: str,
        name: str,
        *,
        made_for: str | None = None,
        once: Once | None = None,
        warnings: Sequence[str] = (),
        labels: Mapping[str, str] = NO_LABELS,
        **content: Unpack[VersionContent],
    ) -> AdapterVersion:
        """A new adapter with its version 1, which has these `labels`. `warnings` are kept with `once`.

        Raises `Invalid` for the name, `NotFound` for the model, `Conflict` if the name is taken, if the model was never
        built (nothing can be checked against it then) or if its fingerprint isn't `made_for`, `LimitReached`.
        """
        require_name("name", short_name(name))
        with self._database.read() as session:
            adapter_rows.require_place(session, model, name, made_for)
        self.require_room(name, content["weights"])
        digest = self._blobs.put(content["weights"])
        with self._write() as session:
            fingerprint = adapter_rows.require_place(session, model, name, made_for)
            adapter = adapter_rows.add_adapter(session, model, name)
            version = adapter_rows.append_version(session, adapter, fingerprint, digest, content, labels)
            remember_version(session, once, version, warnings)
            return version

    def add_version(
        self,
        name: str,
        *,
        if_match: IfMatch = None,
        made_for: str | None = None,
        once: Once | None = None,
        warnings: Sequence[str] = (),
        labels: Mapping[str, str] = NO_LABELS,
        **content: Unpack[VersionContent],
    ) -> AdapterVersion:
        """The next version of an adapter. A number is never given twice, not even after its version was removed.

        `if_match` are digests (hex) of which the newest version must have one. Raises `NotFound`, `Stale` if it
        hasn't, `Conflict` and `LimitReached` as `create_adapter`.
        """
        digest = self._put_to_extend(name, if_match, made_for, content["weights"])
        with self._write() as session:
            adapter, fingerprint = adapter_rows.find_to_extend(session, name, if_match, made_for)
            version = adapter_rows.append_version(session, adapter, fingerprint, digest, content, labels)
            remember_version(session, once, version, warnings)
            return version

    def add_if_changed(
        self,
        name: str,
        *,
        if_match: IfMatch = None,
        made_for: str | None = None,
        once: Once | None = None,
        warnings: Sequence[str] = (),
        labels: Mapping[str, str] = NO_LABELS,
        **content: Unpack[VersionContent],
    ) -> tuple[AdapterVersion, bool]:
        """As `add_version`, with whether anything changed: where the newest version has this config and these weights
        already, it is the answer, and only its blob was stored anew."""
        digest = self._put_to_extend(name, if_match, made_for, content["weights"])
        with self._write() as session:
            adapter, fingerprint = adapter_rows.find_to_extend(session, name, if_match, made_for)
            if (same := adapter_rows.find_same(session, name, digest, content)) is not None:
                return adapter_rows.keep_version(session, same), False
            version = adapter_rows.append_version(session, adapter, fingerprint, digest, content, labels)
            remember_version(session, once, version, warnings)
            return version, True

    def plan_version(
        self, name: str, *, if_match: IfMatch = None, made_for: str | None = None, **content: Unpack[VersionContent]
    ) -> tuple[int, AdapterVersion | None]:
        """The number that `add_version` would give now, and the version that `add_if_changed` would answer with where
        it would change nothing. Raises what both would; stores nothing."""
        with self._database.read() as session:
            adapter, _ = adapter_rows.find_to_extend(session, name, if_match, made_for)
            team_quotas.require_room(session, name, content["weights"])
            same = adapter_rows.find_same(session, name, sha256(content["weights"]).hexdigest(), content)
            return adapter.last_version + 1, same

    def require_room(self, name: str, weights: bytes) -> None:
        """Raises `LimitReached` if the team of the adapter `name`, a new one or not, may not store a version of these
        bytes now."""
        with self._database.read() as session:
            team_quotas.require_room(session, name, weights)

    def _put_to_extend(self, name: str, if_match: IfMatch, made_for: str | None, weights: bytes) -> str:
        """The blob's digest (hex), put once nothing stands against the version."""
        with self._database.read() as session:
            adapter_rows.find_to_extend(session, name, if_match, made_for)
        self.require_room(name, weights)
        return self._blobs.put(weights)

    def find_created(self, once: Once) -> tuple[AdapterVersion, tuple[str, ...]] | None:
        """What was created under this key, as it was then, with its warnings. Raises `Conflict` if the key was for
        something else."""
        with self._database.read() as session:
            return recall_version(session, once)

    def find_adapter(self, name: str) -> Adapter:
        """Raises `NotFound`."""
        with self._database.read() as session:
            return find_adapter(session, name)

    def describe_adapter(self, name: str, words: AdapterWords) -> Adapter:
        """Change what its team says of an adapter, and who sees it. Raises `NotFound`."""
        with self._write() as session:
            return adapter_rows.describe_adapter(session, name, words)

    def label_version(self, name: str, number: int, labels: Mapping[str, str]) -> AdapterVersion:
        """Change the words for finding a version. Raises `NotFound`."""
        with self._write() as session:
            return adapter_rows.label_version(session, name, number, labels)

    def list_adapters(self, limit: int, after: str | None = None, model: str | None = None) -> tuple[Adapter, ...]:
        """At most `limit` adapters by name, those after the name `after`, all or those of `model`."""
        place = None if after is None else PlaceInList(after)
        return tuple(found.adapter for found in self.search_adapters(AdapterSearch(model), limit, place))

    def search_adapters(
        self, search: AdapterSearch, limit: int, after: PlaceInList | None = None
    ) -> tuple[FoundAdapter, ...]:
        """At most `limit` adapters that are what is searched for, in its order, those behind the place `after`."""
        with self._database.read() as session:
            return adapter_search.search_adapters(session, search, limit, after)

    def count_adapters(self, search: AdapterSearch) -> int:
        """How many are what is searched for."""
        with self._database.read() as session:
            return adapter_search.count_adapters(session, search)

    def note_uses(self, uses: Mapping[str, datetime]) -> None:
        """When adapters were used last, by name; removed ones are left out."""
        with self._database.write() as session:
            adapter_search.note_uses(session, uses)

    def resolve(self, reference: str) -> AdapterVersion:
        """The version behind `name`, `name@3` or `name@alias`. Raises `NotFound` saying which part isn't there."""
        with self._database.read() as session:
            return pick_version(find_adapter(session, named_by(reference)), reference)

    def remove_version(self, name: str, number: int, with_aliases: bool = False) -> None:
        """Forget one of several versions, `with_aliases` those that point to it too. The blob stays.

        Raises `NotFound`, and `Conflict` naming its aliases, or if it is the only one: an adapter without a version is
        nothing.
        """
        with self._write() as session:
            adapter_rows.remove_version(session, name, number, with_aliases)

    def remove_adapter(self, name: str, with_aliases: bool = False) -> None:
        """Forget an adapter and its versions. The blobs stay. Raises `NotFound`, `Conflict` naming its aliases unless
        they go `with_aliases`."""
        with self._write() as session:
            adapter_rows.remove_adapter(session, name, with_aliases)

    # ---- all of it ----------------------------------------------------------------------------------------------

    def generation(self) -> int:
        """A number that grows with every change."""
        with self._database.read() as session:
            return read_generation(session)

    def list_events(self, limit: int, after: int = 0, chosen: EventFilter = ALL_EVENTS) -> tuple[Event, ...]:
        """At most `limit` changes in the order in which they were made, those behind the event `after`. What is behind
        the last one are newer; none is ever added before it. All of them, or those `chosen`."""
        with self._database.read() as session:
            return read_events(session, limit, after, chosen)

    def newest_events(
        self, limit: int, before: int | None = None, chosen: EventFilter = ALL_EVENTS
    ) -> tuple[Event, ...]:
        """At most `limit` changes, the newest first, those made before the event `before`."""
        with self._database.read() as session:
            return read_newest_events(session, limit, before, chosen)

    def snapshot(self, since: RegistrySnapshot | None = None) -> RegistrySnapshot:
        """Every adapter with its versions and aliases, at one moment.

        With an earlier snapshot as `since`, only what any process has changed after it is read.
        """
        with self._database.read() as session:
            return read_snapshot(session, since)
