"""Names that are a base model's or an adapter's, as OpenAI's API has them in one field: what each means."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from models_registry.errors import NotFound
from models_registry.records import RegistrySnapshot
from models_registry.references import named_by
from service.front.access.names import shown
from service.front.resolution.registry_snapshot import resolve


@dataclass(frozen=True, slots=True)
class ModelName:
    """`id` means `root`: a base model, or an exact version of an adapter on the base model `parent`."""

    id: str
    created_at: datetime
    root: str
    parent: str | None = None


def split_name(view: RegistrySnapshot, bases: Mapping[str, datetime], name: str) -> tuple[str, str | None]:
    """The base model, and the adapter's reference if there is one. `tone@prod` is looked up as an adapter, then as a
    base model; `smollm2/tone@prod` is the adapter in any case. `bases` are those that the caller may use, and when they
    were registered; `view` is as the caller has it. Raises `NotFound`."""
    model, separator, reference = name.partition("/")
    if separator:
        if model not in bases:
            raise NotFound(f"There is no base model {model!r}.")
        return model, reference
    adapter = view.adapters.get(named_by(name))
    if adapter is not None and adapter.model in bases:
        return adapter.model, name
    if name in bases:
        return name, None
    raise NotFound(f"There is no adapter and no base model {name!r}.")


def find_name(view: RegistrySnapshot, bases: Mapping[str, datetime], name: str) -> ModelName:
    """Raises `NotFound`."""
    model, reference = split_name(view, bases, name)
    if reference is None:
        return ModelName(name, bases[name], name)
    version = resolve(view, reference)
    if version.model != model or model not in bases:
        raise NotFound(f"The base model {model!r} has no adapter {shown(version.adapter)!r}.")
    return ModelName(name, version.created_at, shown(version.reference), model)


def all_names(view: RegistrySnapshot, bases: Mapping[str, datetime]) -> Iterator[ModelName]:
    """Base models, then adapters by name, each with its aliases."""
    for base in sorted(bases):
        yield ModelName(base, bases[base], base)
    for name, adapter in sorted(view.adapters.items()):
        if adapter.model in bases:
            yield find_name(view, bases, name)
            for alias in sorted(adapter.aliases):
                yield find_name(view, bases, f"{name}@{alias}")
