"""What is recorded of requests: when adapters were used, which version an alias's requests got, whether it answered,
and for some requests how a shadow answers."""

import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field

from models_registry.alias_counters import AliasCounts
from models_registry.errors import NotFound, RegistryError
from models_registry.records import Adapter, RegistrySnapshot
from models_registry.references import team_of
from service.front.access.caller import Forbidden, current_caller
from service.front.access.names import shown
from service.front.hosts.hosted_model import HostedModel
from service.front.requests import InferRequest
from service.front.resolution.adapter_selection import select
from service.front.resolution.alias_uses import AliasUse, aliases_named, replaced
from service.front.services.alias_meter import AliasMeter
from service.front.services.last_uses import LastUses
from service.front.services.shadows import Shadow, Shadows
from service.protocol.types import HostAnswer, InferCall, Selection, distinct_versions


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was counted of an alias's requests: by version, and by shadow and the version in whose place it ran."""

    adapter: Adapter
    alias: str
    answered: Mapping[int, Mapping[str, int]] = field(default_factory=dict[int, Mapping[str, int]])
    shadowed: Mapping[tuple[int, int], Mapping[str, int]] = field(
        default_factory=dict[tuple[int, int], Mapping[str, int]]
    )


class Rollouts:
    def __init__(self, uses: LastUses, meter: AliasMeter, shadows: Shadows) -> None:
        self._last_uses = uses
        self._meter = meter
        self._shadows = shadows

    def follow(
        self,
        view: RegistrySnapshot,
        request: InferRequest,
        hosted: HostedModel,
        call: InferCall,
        selections: tuple[Selection, ...],
        future: Future[HostAnswer],
    ) -> None:
        """The request was resolved in this view, as the caller has it, and handed over. Never raises nor blocks."""
        self._last_uses.record(distinct_versions(selections))
        uses = aliases_named(view, request.adapters, request.routing_key)
        if not uses:
            return
        shadow = _shadow_of(view, request, uses)
        begun = time.monotonic()

        def ended(future: Future[HostAnswer]) -> None:
            if future.cancelled():  # the caller left
                return
            took = time.monotonic() - begun
            for use in uses:
                answered_s = None if future.exception() else took
                self._meter.count_request(use.adapter.name, use.alias, use.version, answered_s)
            if shadow is None or future.exception():
                return
            use, number, by_shadow = shadow
            names = use.adapter.name, use.alias, number, use.version
            if by_shadow is None:
                self._meter.count(*names, ["failed"])
                return
            answer, now = future.result(), time.monotonic()
            self._shadows.enqueue(Shadow(*names, hosted, call, by_shadow, answer, took, now))

        future.add_done_callback(ended)

    def comparison(self, adapter: Adapter, alias: str) -> Comparison:
        """May block. Raises `NotFound`, `Unavailable`; `Forbidden` for another team's, which alone may know how much it
        asks for."""
        if not current_caller().owns(team_of(adapter.name)):
            raise Forbidden(f"How the versions of {shown(adapter.name)!r} do is for its team alone to know.")
        if alias not in adapter.aliases:
            raise NotFound(f"The adapter {adapter.name!r} has no alias {alias!r}.")
        return _grouped(adapter, alias, self._meter.read(adapter.name, alias))


def _shadow_of(
    view: RegistrySnapshot, request: InferRequest, uses: tuple[AliasUse, ...]
) -> tuple[AliasUse, int, tuple[Selection, ...] | None] | None:
    """The first alias that wants one, the version, and who answers then; None in their place where that can't be."""
    for use in uses:
        number = use.shadow_for(request.routing_key)
        if number is None:
            continue
        version = f"{use.reference.partition('@')[0]}@{number}"
        try:
            adapters = replaced(request.adapters, use.reference, version)
            return use, number, select(view, request.model, adapters, request.routing_key)
        except RegistryError:
            return use, number, None
    return None


def _grouped(adapter: Adapter, alias: str, counts: AliasCounts) -> Comparison:
    answered: dict[int, dict[str, int]] = {}
    shadowed: dict[tuple[int, int], dict[str, int]] = {}
    for counter, count in counts.items():
        if counter.against:
            shadowed.setdefault((counter.version, counter.against), {})[counter.name] = count
        else:
            answered.setdefault(counter.version, {})[counter.name] = count
    return Comparison(adapter, alias, answered, shadowed)
