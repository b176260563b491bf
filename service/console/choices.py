"""What a page offers to choose from: base models, and references of the adapters of one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from models_registry.adapter_searches import AdapterSearch
from service.front.access.names import shown
from service.front.engine import Engine
from service.front.requests import ModelStatus

MOST_MODELS, MOST_ADAPTERS = 200, 100


@dataclass(frozen=True, slots=True)
class Choices:
    """`chosen` is None where there is no model. `references` are names and aliases of its first adapters by last use;
    any other may be written. `is_cut`: there are more adapters than these."""

    models: Sequence[ModelStatus]
    chosen: ModelStatus | None
    references: tuple[str, ...]
    is_cut: bool = False

    @property
    def writes(self) -> bool:
        return self.chosen is not None and self.chosen.task == "text-generation"

    @property
    def reads_text(self) -> bool:
        return self.chosen is not None and self.chosen.base.source.kind == "huggingface"


def choices(engine: Engine, model: str | None) -> Choices:
    """`model` None: the first one that is ready. May block. Raises `NotFound`."""
    models = engine.models.page(MOST_MODELS)
    if model is not None:
        chosen = engine.models.find(model)
    else:
        chosen = next((one for one in models if one.state == "ready"), models[0] if models else None)
    if chosen is None:
        return Choices(models, None, ())
    search = replace(AdapterSearch(), model=chosen.base.id, sort="used", descending=True)
    page = engine.adapter_lists.page(MOST_ADAPTERS, search)
    found = [status.adapter for status in page.items]
    references = [
        f"{shown(adapter.name)}{alias}"
        for adapter in found
        for alias in ("", *(f"@{a}" for a in sorted(adapter.aliases)))
    ]
    return Choices(models, chosen, tuple(references), page.next is not None)
