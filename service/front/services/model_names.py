"""The names that a caller may use as a model: base models and adapters, from memory."""

from collections.abc import Mapping
from datetime import datetime

from service.front.access.caller import current_caller
from service.front.access.names import may_use, seen
from service.front.hosts.host_manager import HostManager
from service.front.resolution.model_names import ModelName, all_names, find_name, split_name
from service.front.resolution.registry_snapshot import Snapshot


class ModelNames:
    """No verb blocks or reads the database."""

    def __init__(self, snapshot: Snapshot, hosts: HostManager) -> None:
        self._snapshot = snapshot
        self._hosts = hosts

    def split(self, name: str) -> tuple[str, str | None]:
        """The base model that a name means, and the adapter's reference if it is one. Raises `NotFound`."""
        return split_name(seen(self._snapshot.view), self._bases(), name)

    def find(self, name: str) -> ModelName:
        """Raises `NotFound`."""
        return find_name(seen(self._snapshot.view), self._bases(), name)

    def all(self) -> tuple[ModelName, ...]:
        """Base models, then adapters with their aliases; single versions have names, too, which aren't listed."""
        return tuple(all_names(seen(self._snapshot.view), self._bases()))

    def bases(self) -> tuple[str, ...]:
        """Base models that the caller may use."""
        return tuple(sorted(self._bases()))

    def _bases(self) -> Mapping[str, datetime]:
        caller, view = current_caller(), self._snapshot.view
        return {name: at for name, at in self._hosts.registered().items() if may_use(view, caller, name)}
