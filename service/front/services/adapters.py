"""The verbs of adapters, a few lines each: check, store in the registry, then bring into the hosted model."""

import logging
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, BinaryIO

from models_registry.errors import Damaged, NotFound, RegistryError
from models_registry.records import Adapter, AdapterVersion, AdapterWords, Once
from models_registry.references import pick_removable
from models_registry.registry import Registry
from service.front.admission.version_leases import VersionLeases
from service.front.hosts.host_manager import HostManager
from service.front.hosts.hosted_model import HostedModel
from service.front.hosts.merge_runner import MergeRunner
from service.front.requests import (
    AdapterStatus,
    CreatedAdapter,
    NewAdapter,
    NewComposition,
    NewVersion,
)
from service.front.resolution.registry_snapshot import (
    Snapshot,
    find_adapter,
    is_there,
    resolve,
)
from service.front.services.beside_hosts import BesideHosts
from service.front.services.drafts import Drafts
from service.front.services.idempotency import create_once
from service.front.services.models import Models
from service.front.services.statuses import adapter_status
from service.front.services.version_builder import VersionCandidate
from service.protocol.types import HostLimits

log = logging.getLogger(__name__)

DRAIN_S = 30.0
"""So long a removal waits for the requests that run, where it is asked to."""


class Adapters:
    """The adapters of all base models, in memory or not. Every verb may block.

    Those that read look for changes first, so that the generation in an answer covers everything in it. A creation that
    is repeated under the same `Once` returns what was created the first time.
    """

    def __init__(
        self,
        registry: Registry,
        limits: HostLimits,
        snapshot: Snapshot,
        hosts: HostManager,
        models: Models,
        leases: VersionLeases,
        merges: MergeRunner,
    ) -> None:
        self._registry = registry
        self._snapshot = snapshot
        self._hosts = hosts
        self._leases = leases
        self._beside_hosts = BesideHosts(registry, hosts)
        self._drafts = Drafts(registry, limits, snapshot, models, merges, self._beside_hosts)

    # ---- creating -------------------------------------------------------------------------------------------

    def create(self, new: NewAdapter, once: Once | None = None) -> CreatedAdapter:
        """Version 1, with initial or given weights; attached at once if the model is hosted.

        Raises `NotFound` (model), `Conflict` (name taken; the model was never built; `once` was for something else),
        `Unavailable` (its first build is under way), `Invalid`/`Unsupported` (config or weights), `NoRoom`; then
        nothing is stored.
        """
        put = partial(self._registry.create_adapter, new.model, new.name, once=once, labels=new.labels)
        return create_once(once, self._recall, lambda: self._store(new.model, new.name, self._drafts.new(new), put))

    def check(self, new: NewAdapter) -> CreatedAdapter:
        """The dry run: all of `create` but storing and attaching. Version 1 as it would be."""
        draft = self._drafts.new(new)
        self._registry.require_room(new.name, draft.content["weights"])
        return CreatedAdapter(draft.as_version(new.model, new.name, 1, new.labels), draft.checkpoint.warnings)

    def compose(self, new: NewComposition, once: Once | None = None) -> CreatedAdapter:
        """Version 1, merged from stored adapters of the model, in memory or not; stored and attached as by `create`.
        Raises `NotFound` (all references at once), `Damaged`, and what `create` does."""
        put = partial(self._registry.create_adapter, new.model, new.name, once=once)
        return create_once(
            once, self._recall, lambda: self._store(new.model, new.name, self._drafts.composition(new), put)
        )

    def add_version(
        self, name: str, new: NewVersion, *, if_match: Collection[str] | None = None, once: Once | None = None
    ) -> CreatedAdapter:
        """The next version. `if_match` are the digests (hex) of which the newest version must have one.

        Raises `NotFound`, `Stale`, and what `create` does of the rest; then nothing is stored.
        """

        def add() -> CreatedAdapter:
            model, draft = self._drafts.version(name, new)
            put = partial(self._registry.add_version, name, if_match=if_match, once=once, labels=new.labels)
            return self._store(model, name, draft, put)

        return create_once(once, self._recall, add)

    def check_version(
        self, name: str, new: NewVersion, *, if_match: Collection[str] | None = None, force: bool = True
    ) -> CreatedAdapter:
        """The dry run of `add_version`, or, without `force`, of `add_if_changed`: all of it but storing and
        attaching."""
        model, draft = self._drafts.version(name, new)
        number, same = self._registry.plan_version(name, if_match=if_match, made_for=draft.fingerprint, **draft.content)
        if same is not None and not force:
            return _kept(same, draft.checkpoint.warnings, new.metadata)
        return CreatedAdapter(draft.as_version(model, name, number, new.labels), draft.checkpoint.warnings)

    def add_if_changed(
        self, name: str, new: NewVersion, *, if_match: Collection[str] | None = None, once: Once | None = None
    ) -> CreatedAdapter:
        """As `add_version`; but the newest version, `unchanged`, where it has this config and these weights already:
        metadata of other content is then not stored, which is a warning, nor are labels."""

        def add() -> CreatedAdapter:
            model, draft = self._drafts.version(name, new)
            hosted = self._beside_hosts.prepare(model, name, draft)
            warnings, content, labels = draft.checkpoint.warnings, draft.content, new.labels
            put = partial(self._registry.add_if_changed, if_match=if_match, made_for=draft.fingerprint, once=once)
            version, changed = put(name, warnings=warnings, labels=labels, **content)
            self._snapshot.refresh()
            if changed:
                return CreatedAdapter(version, (*warnings, *self._attach(version, hosted)))
            return _kept(version, warnings, new.metadata)

        return create_once(once, self._recall, add)

    # ---- reading --------------------------------------------------------------------------------------------

    def find(self, name: str) -> AdapterStatus:
        """Raises `NotFound`."""
        adapter = self._find(name)
        return adapter_status(adapter, self._hosts.hosted(adapter.model))

    def describe(self, name: str, words: AdapterWords) -> AdapterStatus:
        """Change what its team says of it, and who sees it. Raises `NotFound`."""
        self._registry.describe_adapter(name, words)
        return self.find(name)

    def label_version(self, name: str, number: int, labels: Mapping[str, str]) -> AdapterStatus:
        """Change the words for finding a version. Raises `NotFound`."""
        self._registry.label_version(name, number, labels)
        return self.find(name)

    def find_version(self, reference: str) -> AdapterVersion:
        """Raises `NotFound`."""
        self._snapshot.refresh()
        return resolve(self._snapshot.view, reference)

    def open_state(self, version: AdapterVersion) -> BinaryIO:
        """Its blob, verified, as a file that the caller closes. Raises `Damaged`, `Unavailable`, `NoRoom`."""
        return self._registry.open_weights(version)

    def presign_state(self, version: AdapterVersion, expires_s: int) -> str | None:
        """Where anybody gets its blob without us for that long; None where the store has no URLs."""
        return self._registry.presign_weights(version, expires_s)

    # ---- in and out of memory -------------------------------------------------------------------------------

    def load(self, model: str, name: str, pin: bool = False, replicas: int | None = None) -> AdapterStatus:
        """Make `name` resident, where its model has several processes on so many `replicas` (None: all); with `pin` so
        until it is unloaded. Raises `NotFound`, `NoRoom`, `Conflict`."""
        hosted = self._hosts.find(model)
        version = self._resolve(model, name)
        try:
            hosted.load(version, pin, replicas)
        except Damaged as error:
            raise self._registry.damage.note_damage(version, error) from error
        self._registry.damage.note_soundness(version)
        if self._drop_if_gone(hosted, version):
            raise NotFound(f"There is no adapter {name!r}.")
        return self.find(version.adapter)

    def unload(self, model: str, name: str) -> tuple[AdapterStatus, bool]:
        """Take its versions out of memory, pinned or not. Whether their memory is free: those in use go when
        they no longer are. Raises `NotFound`."""
        self._registry.find_base_model(model)
        version = self._resolve(model, name)
        hosted = self._hosts.hosted(model)
        freed = hosted is None or hosted.unload(self._find(name).versions)
        return self.find(version.adapter), freed

    # ---- removing -------------------------------------------------------------------------------------------

    def remove(self, name: str, drain: bool = False) -> None:
        """Out of the registry and out of memory. Raises `NotFound`, and `Conflict` while requests hold it or aliases
        point to it. With `drain` its aliases go too and running requests are waited for, while new ones are answered as
        if it were gone; `Conflict` if some still run after 30 seconds, and then nothing was changed. Those of other
        fronts are waited for as long once it is removed."""
        adapter = self._find(name)
        with self._leases.removing(name, DRAIN_S if drain else 0.0):
            self._registry.remove_adapter(name, with_aliases=drain)
            self._snapshot.refresh()
        if hosted := self._hosts.hosted(adapter.model):
            hosted.remove(adapter.versions, DRAIN_S if drain else 0.0)

    def remove_version(self, name: str, number: int, drain: bool = False) -> None:
        """As `remove`, for one of several versions. Raises `Conflict` for the only one, too."""
        version = pick_removable(self._find(name), number)
        with self._leases.removing(version.reference, DRAIN_S if drain else 0.0):
            self._registry.remove_version(name, number, with_aliases=drain)
            self._snapshot.refresh()
        if hosted := self._hosts.hosted(version.model):
            hosted.remove([version], DRAIN_S if drain else 0.0)

    # ---- inside ---------------------------------------------------------------------------------------------

    def _find(self, name: str) -> Adapter:
        self._snapshot.refresh()
        return find_adapter(self._snapshot.view, name)

    def _resolve(self, model: str, reference: str) -> AdapterVersion:
        version = resolve(self._snapshot.view, reference)
        if version.model != model:
            raise NotFound(f"The adapter {version.adapter!r} belongs to model {version.model!r}, not to {model!r}.")
        return version

    def _recall(self, once: Once) -> CreatedAdapter | None:
        created = self._registry.find_created(once)
        self._snapshot.refresh()
        return created and CreatedAdapter(*created)

    def _store(
        self, model: str, name: str, draft: VersionCandidate, put: Callable[..., AdapterVersion]
    ) -> CreatedAdapter:
        hosted = self._beside_hosts.prepare(model, name, draft)
        warnings = draft.checkpoint.warnings
        version = put(made_for=draft.fingerprint, warnings=warnings, **draft.content)
        self._snapshot.refresh()
        return CreatedAdapter(version, (*warnings, *self._attach(version, hosted)))

    def _attach(self, version: AdapterVersion, hosted: HostedModel | None) -> tuple[str, ...]:
        """From the commit on the version exists: a failure now is a warning."""
        if hosted is None:
            return ()
        try:
            hosted.attach(version)
        except RegistryError as error:
            return (f"{version.reference} is stored but not in memory yet: {error.detail}",)
        except Exception as error:  # as above; the next request that needs it tries again and shows it
            log.exception("adapter %s could not be attached", version.reference)
            return (f"{version.reference} is stored but could not be attached: {type(error).__name__}: {error}",)
        self._drop_if_gone(hosted, version)
        return ()

    def _drop_if_gone(self, hosted: HostedModel, version: AdapterVersion) -> bool:
        """Its adapter may have been deleted between the look at the registry and the attaching."""
        if is_there(self._snapshot.view, version):
            return False
        hosted.remove([version])
        return True


def _kept(version: AdapterVersion, warnings: tuple[str, ...], metadata: Mapping[str, Any] | None) -> CreatedAdapter:
    """Of weights that the newest version has already."""
    if metadata is not None and metadata != version.metadata:
        warnings = (*warnings, f"{version.reference} has these weights already, so the metadata was not stored.")
    return CreatedAdapter(version, warnings, unchanged=True)
