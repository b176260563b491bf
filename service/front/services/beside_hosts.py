"""Steps that use a model's host if it is in memory, and work without it if it is unloaded or dies at this moment: such
a model takes new adapters too."""

from typing import Final

from models_registry.errors import Conflict, NotFound, Unavailable
from models_registry.registry import Registry
from service.front.hosts.host_manager import HostManager
from service.front.hosts.hosted_model import HostedModel
from service.front.requests import ModelModules, NewAdapter
from service.front.services.version_builder import VersionCandidate, draft_new
from service.protocol.errors import HostLost

LEFT: Final = (Conflict, NotFound, Unavailable)
"""What a host answers once its model was unloaded or removed, or once it died."""


class BesideHosts:
    def __init__(self, registry: Registry, hosts: HostManager) -> None:
        self._registry = registry
        self._hosts = hosts

    def draft(self, new: NewAdapter, modules: ModelModules, max_bytes: int) -> VersionCandidate:
        """As `draft_new`. Raises `HostLost` where it starts from weights of a model whose host is restarting."""
        hosted = self._hosts.hosted(new.model)
        try:
            return draft_new(new, modules, hosted and hosted.initial_weights, max_bytes)
        except LEFT as left:
            if hosted is None or self._hosts.hosted(new.model) is hosted:
                raise
            try:
                return draft_new(new, modules, None, max_bytes)
            except Conflict:
                raise left from None

    def prepare(self, model: str, name: str, draft: VersionCandidate) -> HostedModel | None:
        """The blob is put first, because a host reads it by its digest: what it can't serve is never committed. None
        where the model isn't in memory. Raises `LimitReached`."""
        self._registry.require_room(name, draft.content["weights"])
        if (hosted := self._hosts.hosted(model)) is None:
            return None
        self._registry.put_weights(draft.content["weights"])
        try:
            hosted.host.prepare(draft.as_version(model, name, 0, {})).result()
        except HostLost:
            return hosted  # attaching fails too, with a warning
        except LEFT:
            if self._hosts.hosted(model) is hosted:
                raise
            return None
        return hosted
