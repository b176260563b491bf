"""Which adapter versions the rows of a request mean: references become exact versions, all faults at once."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from models_registry.adapters.catalog import parse_stored
from models_registry.adapters.method import FLOAT32_MAX
from models_registry.errors import Invalid, NotFound
from models_registry.records import AdapterVersion, Fault, Location, RegistrySnapshot
from models_registry.references import named_by
from models_registry.rollouts import is_split
from service.front.access.names import shown
from service.front.requests import AdapterChoice, AdapterChoices, Digest
from service.front.resolution.registry_snapshot import draw, find_adapter, resolve
from service.protocol.types import BASE, Part, Selection


def exact_choice(selection: Selection) -> AdapterChoice:
    """What the selection is as a caller would write it, with the exact versions."""
    if selection.composed:
        return {shown(part.version.reference): part.weight for part in selection.parts}
    return shown(selection.parts[0].version.reference) if selection.parts else None


def digest_of(selection: Selection) -> Digest:
    """The digests of its versions."""
    if selection.composed:
        return {shown(part.version.reference): f"sha256:{part.version.digest}" for part in selection.parts}
    return f"sha256:{selection.parts[0].version.digest}" if selection.parts else None


def _part(version: AdapterVersion, weight: float) -> Part:
    return Part(version, version.key, weight)


def select(view: RegistrySnapshot, model: str, adapters: AdapterChoices, routing_key: str) -> tuple[Selection, ...]:
    """One selection for all rows, or one per row if `adapters` is a tuple. `view` is as the caller has it. An alias
    that splits is the same version wherever it is named, because the `routing_key` says which.

    Raises `NotFound` listing every reference that doesn't exist or belongs to another model, `Invalid` listing every
    composition that can't be computed.
    """
    choices = adapters if isinstance(adapters, tuple) else (adapters,)
    resolved = _resolve_all(model, choices, partial(draw, view, routing_key=routing_key))
    faults: list[Fault] = []
    selections: list[Selection] = []
    for row, choice in enumerate(choices):
        loc: Location = ("adapter", row) if isinstance(adapters, tuple) else ("adapter",)
        selection = _compose(choice, resolved)
        faults.extend(_faults_of(choice, selection, loc))
        selections.append(selection)
    if faults:
        raise Invalid("These adapters can't be composed.", faults)
    return tuple(selections)


def resolve_composition(view: RegistrySnapshot, model: str, adapters: Mapping[str, float]) -> Selection:
    """The exact versions of a composition that is to be stored, whether or not it can be computed.

    Raises `NotFound` listing every reference that doesn't exist or belongs to another model, `Invalid` listing every
    alias that means several versions.
    """
    resolved = _resolve_all(model, (adapters,), partial(resolve, view))
    split = [reference for reference in adapters if is_split(find_adapter(view, named_by(reference)), reference)]
    if split:
        message = "It splits its requests between versions: name one of these."
        raise Invalid("What is stored has one version of each.", [Fault(("adapters", one), message) for one in split])
    return _compose(adapters, resolved)


def _resolve_all(
    model: str, choices: tuple[AdapterChoice, ...], resolve: Callable[[str], AdapterVersion]
) -> Mapping[str, AdapterVersion]:
    resolved: dict[str, AdapterVersion] = {}
    missing: dict[str, str] = {}
    for reference in _references(choices):
        if reference in resolved or reference in missing:
            continue
        try:
            version = resolve(reference)
        except NotFound as error:
            missing[reference] = error.detail
            continue
        if version.model == model:
            resolved[reference] = version
        else:
            missing[reference] = f"Adapter {version.adapter!r} belongs to model {version.model!r}, not to {model!r}."
    if missing:
        raise NotFound(" ".join(missing.values()))
    return resolved


def _references(choices: tuple[AdapterChoice, ...]) -> Iterator[str]:
    for choice in choices:
        if isinstance(choice, str):
            yield choice
        elif choice is not None:
            yield from choice


def _compose(choice: AdapterChoice, resolved: Mapping[str, AdapterVersion]) -> Selection:
    if choice is None:
        return BASE
    if isinstance(choice, str):
        return Selection((_part(resolved[choice], 1.0),))
    weights: dict[str, float] = {}
    versions: dict[str, AdapterVersion] = {}
    for reference, weight in choice.items():
        version = resolved[reference]
        # `tone` and `tone@3` may be the same version: their deltas add up, so their weights do.
        weights[version.reference] = weights.get(version.reference, 0.0) + weight
        versions[version.reference] = version
    return Selection(tuple(_part(versions[key], weight) for key, weight in weights.items()), composed=True)


def _faults_of(choice: AdapterChoice, selection: Selection, loc: Location) -> Iterator[Fault]:
    if not isinstance(choice, Mapping):
        return
    if not choice:
        yield Fault(loc, "A composition names at least one adapter; for the base write null.")
    for reference, weight in choice.items():
        if not abs(weight) <= FLOAT32_MAX:  # nor if it isn't a number
            yield Fault((*loc, reference), f"The weight must be a number that float32 can hold, not {weight}.")
    if len(selection.parts) == 1 and selection.parts[0].weight == 1.0:
        return
    for part in selection.parts:
        config = parse_stored(part.version.config)
        if config.addition_refusal:
            message = f"It can't be weighted or summed with others ({config.addition_refusal})."
            yield Fault((*loc, part.version.reference), message)
