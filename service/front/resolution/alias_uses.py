"""Which aliases a request names, for what is counted of them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from models_registry.records import Adapter, RegistrySnapshot, Rollout
from models_registry.references import named_by
from models_registry.rollouts import draw_version, place_of
from service.front.requests import AdapterChoice, AdapterChoices


@dataclass(frozen=True, slots=True)
class AliasUse:
    """A request names the `alias` of the `adapter`, as `reference`, and gets `version`."""

    reference: str
    adapter: Adapter
    alias: str
    version: int

    def shadow_for(self, routing_key: str) -> int | None:
        """The version on which the request is to be run too."""
        rollout = self.adapter.rollouts.get(self.alias, Rollout({}))
        place = place_of(routing_key, self.adapter.name, self.alias, "shadow")
        return rollout.shadow if place < rollout.shadow_share else None


def aliases_named(view: RegistrySnapshot, adapters: AdapterChoices, routing_key: str) -> tuple[AliasUse, ...]:
    """Each once. The request was resolved in this view."""
    uses: dict[str, AliasUse] = {}
    for reference in dict.fromkeys(_references(adapters)):
        _, _, alias = reference.partition("@")
        adapter = view.adapters.get(named_by(reference)) if alias else None
        if adapter is not None and alias in adapter.aliases:
            version = draw_version(adapter, reference, routing_key).version
            uses[reference] = AliasUse(reference, adapter, alias, version)
    return tuple(uses.values())


def replaced(adapters: AdapterChoices, reference: str, by: str) -> AdapterChoices:
    """With another reference wherever this one is written."""
    if isinstance(adapters, tuple):
        return tuple(_replaced(choice, reference, by) for choice in adapters)
    return _replaced(adapters, reference, by)


def _replaced(choice: AdapterChoice, reference: str, by: str) -> AdapterChoice:
    if not isinstance(choice, Mapping):
        return by if choice == reference else choice
    weights: dict[str, float] = {}
    for one, weight in choice.items():
        name = by if one == reference else one
        weights[name] = weights.get(name, 0.0) + weight
    return weights


def _references(adapters: AdapterChoices) -> Iterator[str]:
    for choice in adapters if isinstance(adapters, tuple) else (adapters,):
        if isinstance(choice, str):
            yield choice
        elif choice is not None:
            yield from choice
