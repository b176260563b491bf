"""Lists of adapters: those that the caller sees and that are what is searched for, a page at a time."""

from dataclasses import dataclass, replace
from datetime import datetime

from models_registry.adapter_searches import AdapterSearch, PlaceInList
from models_registry.errors import NotFound
from models_registry.registry import Registry
from service.front.access.caller import current_caller
from service.front.access.names import finds_model, hidden_models, seen_by_caller
from service.front.hosts.host_manager import HostManager
from service.front.requests import AdapterStatus
from service.front.resolution.registry_snapshot import Snapshot
from service.front.services.last_uses import LastUses
from service.front.services.statuses import adapter_status


@dataclass(frozen=True, slots=True)
class ListedAdapters:
    """`next` is the place behind these, None where there are no more. `total` counts all, where that was asked for."""

    items: tuple[AdapterStatus, ...]
    last_used_at: tuple[datetime | None, ...]
    next: PlaceInList | None
    total: int | None = None


class AdapterLists:
    """Every verb may block."""

    def __init__(self, registry: Registry, snapshot: Snapshot, hosts: HostManager, uses: LastUses) -> None:
        self._registry = registry
        self._snapshot = snapshot
        self._hosts = hosts
        self._uses = uses

    def page(
        self,
        limit: int,
        search: AdapterSearch | None = None,
        after: PlaceInList | None = None,
        counted: bool = False,
    ) -> ListedAdapters:
        """At most `limit`, in the search's order, behind the place `after`. Raises `NotFound` for an unknown model."""
        asked = search or AdapterSearch()
        view = self._snapshot.view
        if asked.model is not None:
            if not finds_model(view, asked.model):
                raise NotFound(f"There is no base model {asked.model!r}.")
            self._registry.find_base_model(asked.model)
        if asked.sort == "used" or asked.used.is_bounded:
            self._uses.flush()
        team, names = seen_by_caller()
        models, hidden = current_caller().models, hidden_models(view)
        visible = replace(
            asked,
            seen_by=team,
            among=names,
            models=None if models is None else tuple(models),
            hidden_models=hidden,
        )
        found = self._registry.search_adapters(visible, limit + 1, after)
        total = self._registry.count_adapters(visible) if counted else None
        self._snapshot.refresh()
        page = found[:limit]
        return ListedAdapters(
            items=tuple(adapter_status(one.adapter, self._hosts.hosted(one.adapter.model)) for one in page),
            last_used_at=tuple(one.last_used_at for one in page),
            next=page[-1].place(asked.sort) if len(found) > limit else None,
            total=total,
        )
