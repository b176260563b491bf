"""Versions before they are stored, each checked against its base model as that is known now."""

from dataclasses import replace

from models_registry.adapters.absent_heads import labels_of
from models_registry.adapters.cancellation import Stopped
from models_registry.adapters.catalog import parse_config, parse_stored
from models_registry.errors import Damaged
from models_registry.registry import Registry
from models_registry.safetensors_files import read_safetensors
from service.front.access.names import seen
from service.front.hosts.merge_runner import MergeRunner
from service.front.requests import ModelModules, NewAdapter, NewComposition, NewVersion
from service.front.resolution.registry_snapshot import Snapshot, first_adapter, require_free
from service.front.services.beside_hosts import BesideHosts
from service.front.services.merge_builder import draft_composition
from service.front.services.models import Models
from service.front.services.version_builder import VersionCandidate, draft_upload
from service.protocol.types import HostLimits, Merged, MergeOrder


class Drafts:
    """Each raises what is wrong with it (`version_builder`), and `NotFound` or `Conflict` about its model and name."""

    def __init__(
        self,
        registry: Registry,
        limits: HostLimits,
        snapshot: Snapshot,
        models: Models,
        merges: MergeRunner,
        beside_hosts: BesideHosts,
    ) -> None:
        self._registry = registry
        self._limits = limits
        self._snapshot = snapshot
        self._models = models
        self._merges = merges
        self._beside_hosts = beside_hosts

    def new(self, new: NewAdapter) -> VersionCandidate:
        """Of a new adapter, with initial or given weights."""
        modules = self._modules(new.model)
        require_free(self._snapshot.view, new.name, new.model)
        return self._beside_hosts.draft(new, modules, self._limits.max_adapter_bytes)

    def version(self, name: str, new: NewVersion) -> tuple[str, VersionCandidate]:
        """The next one of an adapter, with its model's id."""
        newest = self._registry.find_adapter(name).newest
        parsed = parse_stored(newest.config) if new.config is None else parse_config(new.config, new.accept.unknown)
        # What the newest version's config names and the base model lacks was accepted with it.
        lenient = new.accept.unmatched or new.config is None
        modules = self._modules(newest.model)
        return newest.model, draft_upload(parsed, modules, new.weights, new.metadata or {}, lenient)

    def composition(self, new: NewComposition) -> VersionCandidate:
        """Of a new adapter that is merged from stored ones. Raises `Damaged` where one of them is."""
        modules = self._models.modules(new.model)
        require_free(self._snapshot.view, new.name, new.model)
        return draft_composition(new, modules, seen(self._snapshot.view), self._merge, self._limits.max_adapter_bytes)

    def _modules(self, model: str) -> ModelModules:
        """As of the model. A head that only adapters bring has as many classes as the first one's, if nobody said."""
        modules = self._models.modules(model)
        head = modules.architecture.absent_head
        if head is None or head.labels is not None or (first := first_adapter(self._snapshot.view, model)) is None:
            return modules
        labels = labels_of(head, read_safetensors(self._registry.read_weights(first.versions[0])))
        return replace(modules, architecture=replace(modules.architecture, absent_head=replace(head, labels=labels)))

    def _merge(self, order: MergeOrder, stopped: Stopped) -> Merged:
        try:
            return self._merges.merge(order, stopped)
        except Damaged as error:
            damaged = next(version for version, _ in order.parts if version.digest == error.digest)
            raise self._registry.damage.note_damage(damaged, error) from error
