"""What lists of adapters are searched for, and what is found."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, TypeAlias

from models_registry.label_selectors import Selector
from models_registry.records import Adapter

SortKey: TypeAlias = Literal["name", "created", "used"]
NEVER = datetime(1970, 1, 1, tzinfo=UTC)
"""Stored as the last use of an adapter that has not been used."""


@dataclass(frozen=True, slots=True)
class Span:
    """Times from `after` on, before `before`; None: without a bound."""

    after: datetime | None = None
    before: datetime | None = None

    @property
    def is_bounded(self) -> bool:
        return self.after is not None or self.before is not None


@dataclass(frozen=True, slots=True)
class AdapterSearch:
    """What adapters must be, all of it; None: no matter. `method` is the newest version's; `text` is found in the name
    or the description. The team `seen_by` sees its own and shared ones; `among` are names, `models` and
    `hidden_models` ids of the base models that count, and that don't."""

    model: str | None = None
    method: str | None = None
    team: str | None = None
    text: str | None = None
    labels: Selector = ()
    created: Span = Span()
    used: Span = Span()
    seen_by: str | None = None
    among: tuple[str, ...] | None = None
    models: tuple[str, ...] | None = None
    hidden_models: tuple[str, ...] = ()
    sort: SortKey = "name"
    descending: bool = False


@dataclass(frozen=True, slots=True)
class PlaceInList:
    """Behind the adapter `name`, whose time is `at` where the list is sorted by one."""

    name: str
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class FoundAdapter:
    """`last_used_at` is None where nobody used it yet."""

    adapter: Adapter
    last_used_at: datetime | None = None

    def place(self, sort: SortKey) -> PlaceInList:
        times = {"name": None, "created": self.adapter.created_at, "used": self.last_used_at or NEVER}
        return PlaceInList(self.adapter.name, times[sort])
