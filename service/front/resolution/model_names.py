"""One name for a base model or an adapter, as OpenAI's API has it: which of the two it means."""

from collections.abc import Callable

from models_registry.errors import NotFound
from models_registry.records import RegistrySnapshot
from models_registry.references import named_by


def named_model(view: RegistrySnapshot, is_base: Callable[[str], bool], name: str) -> tuple[str, str | None]:
    """The base model, and the adapter's reference if there is one, in the `view` as the caller has it. `tone@prod` is
    looked up as an adapter, then as a base model; `smollm2/tone@prod` is the adapter in any case. Raises `NotFound`."""
    model, separator, reference = name.partition("/")
    if separator:
        return model, reference
    if (adapter := view.adapters.get(named_by(name))) is not None:
        return adapter.model, name
    if is_base(name):
        return name, None
    raise NotFound(f"There is no adapter and no base model {name!r}.")
