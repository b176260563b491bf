"""What a caller calls adapters, and what the registry calls them: names are unique within a team.

A bare `tone` is the caller's own team's. Another team's is `fraud:tone`, and is seen by others only where it is shared.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from models_registry.records import DEFAULT_TEAM, Adapter, RegistrySnapshot
from models_registry.references import short_name, stored_name, team_of
from service.front.access.caller import Caller, Forbidden, current_caller


def stored(written: str) -> str:
    """What the registry calls the adapter that the caller means by a name, or the version by a reference."""
    return _kept(current_caller().team, written)


def stored_own(written: str) -> str:
    """What the registry calls the adapter of this name that the caller makes, changes or removes. Raises `Forbidden`
    where their key is limited to others."""
    caller, kept = current_caller(), stored(written)
    if caller.adapters is not None and kept not in _allowed(caller, caller.adapters):
        raise Forbidden(f"This key is limited to other adapters than {written!r}.")
    return kept


def shown(kept: str) -> str:
    """What the caller calls what the registry keeps under this name or reference."""
    own, team = current_caller().team, team_of(kept)
    return short_name(kept) if team == own else f"{team}:{short_name(kept)}"


def shown_in(text: str) -> str:
    """A sentence of the registry's about adapters, in the caller's names."""
    own = current_caller().team
    return text if own == DEFAULT_TEAM else re.sub(rf"(?<![\w.:-]){re.escape(own)}:(?=[A-Za-z0-9])", "", text)


def finds(view: RegistrySnapshot, kept: str) -> bool:
    """Whether the caller may see this adapter. In their own team also one that the view doesn't have yet."""
    caller, adapter = current_caller(), view.adapters.get(kept)
    if adapter is not None:
        return sees(view, caller, adapter)
    return caller.adapters is None and (team_of(kept) == caller.team or caller.may("admin"))


def finds_model(view: RegistrySnapshot, model: str) -> bool:
    """Whether the caller may know of this base model; also true of one that isn't there."""
    return may_use(view, current_caller(), model)


def may_use(view: RegistrySnapshot, caller: Caller, model: str) -> bool:
    """Whether the base model is their team's or everybody's, and their key isn't limited to others."""
    teams = view.restricted.get(model)
    return caller.may_use(model) and (teams is None or caller.team in teams or caller.may("admin"))


def hidden_models(view: RegistrySnapshot) -> tuple[str, ...]:
    """Base models that other teams alone may use."""
    caller = current_caller()
    return tuple(sorted(model for model in view.restricted if not may_use(view, caller, model)))


def sees(view: RegistrySnapshot, caller: Caller, adapter: Adapter) -> bool:
    """Whether there is such an adapter at all, for this caller."""
    team = team_of(adapter.name)
    if not may_use(view, caller, adapter.model):
        return False
    if caller.adapters is not None and adapter.name not in _allowed(caller, caller.adapters):
        return False
    return team == caller.team or adapter.visibility == "shared" or caller.may("admin")


def seen_by_caller() -> tuple[str | None, tuple[str, ...] | None]:
    """The team whose and shared adapters the caller sees, None for all; and those that their key is limited to."""
    caller = current_caller()
    names = None if caller.adapters is None else _allowed(caller, caller.adapters)
    return (None if caller.may("admin") else caller.team), names


def seen(view: RegistrySnapshot) -> RegistrySnapshot:
    """The view as the caller has it: only what they see, under the names by which they call it."""
    return replace(view, adapters=_Seen(view, current_caller()))


class _Seen(Mapping[str, Adapter]):
    """By the names that the caller writes. Nothing is copied, for this is made for each request."""

    def __init__(self, view: RegistrySnapshot, caller: Caller) -> None:
        self._view = view
        self._adapters = view.adapters
        self._caller = caller

    def __getitem__(self, written: str) -> Adapter:
        adapter = self._adapters[_kept(self._caller.team, written)]
        if not sees(self._view, self._caller, adapter):
            raise KeyError(written)
        return adapter

    def __iter__(self) -> Iterator[str]:
        return (shown(adapter.name) for adapter in self._adapters.values() if sees(self._view, self._caller, adapter))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _allowed(caller: Caller, names: Collection[str]) -> tuple[str, ...]:
    return tuple(_kept(caller.team, name) for name in names)


def _kept(own: str, written: str) -> str:
    team, colon, name = written.partition(":")
    return stored_name(team, name) if colon else stored_name(own, written)
