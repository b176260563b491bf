"""What changes aliases: `registry.py` alone calls this, inside its transactions."""

from dataclasses import replace
from typing import Any

from sqlalchemy.orm import Session

from models_registry.errors import Conflict, Invalid, NotFound
from models_registry.records import Adapter, AdapterVersion, Rollout
from models_registry.references import pick_version
from models_registry.rollouts import faults_of, main_version
from models_registry.storage.alias_count_rows import forget_counts
from models_registry.storage.alias_history import moves_to_undo
from models_registry.storage.events import log
from models_registry.storage.reading import as_rollout, as_stored, find_adapter
from models_registry.storage.tables import AliasCountRow, AliasRow


def move_alias(session: Session, name: str, alias: str, to: int | Rollout, reason: str | None) -> AdapterVersion:
    """The version to which `alias` points from now on, of several the one with the greatest share."""
    adapter = find_adapter(session, name)
    number = to if isinstance(to, int) else _require_sound(to, adapter)
    version = pick_version(adapter, f"{name}@{number}")
    _point(session, adapter, alias, to, reason)
    return version


def roll_back_alias(session: Session, name: str, alias: str, reason: str | None) -> AdapterVersion:
    """As `move_alias`, to where the alias pointed before its last move that wasn't rolled back yet."""
    adapter = find_adapter(session, name)
    now, there = _require_target(adapter, alias), {version.version for version in adapter.versions}
    for move in moves_to_undo(session, name, alias):
        to = _as_read(move.detail["from"])
        if isinstance(to, Rollout) and to.shadow is not None and to.shadow not in there:
            to = Rollout(to.shares)  # it was ended when its version was removed
        if to is not None and _plain(to) == now:
            continue
        if to is None:
            break
        if gone := sorted({to} - there if isinstance(to, int) else to.shares.keys() - there):
            raise Conflict(f"{name}@{alias} was version {gone[0]}, which was removed; move the alias to another one.")
        _point(session, adapter, alias, to, reason, undoes=move.id)
        return pick_version(adapter, f"{name}@{to if isinstance(to, int) else main_version(to)}")
    raise Conflict(f"{name}@{alias} was never anything else, so there is nothing to go back to.")


def remove_alias(session: Session, name: str, alias: str) -> None:
    adapter = find_adapter(session, name)
    before = _require_target(adapter, alias)
    session.delete(session.get_one(AliasRow, (name, alias)))
    session.flush()
    forget_counts(session, (AliasCountRow.adapter == name) & (AliasCountRow.alias == alias))
    log(session, "alias.removed", f"{name}@{alias}", **{"from": _as_logged(before)})


def end_shadows(session: Session, adapter: Adapter, number: int) -> None:
    """Let no alias have the version of that number as its shadow."""
    for alias, rollout in adapter.rollouts.items():
        if rollout.shadow == number:
            _point(session, adapter, alias, Rollout(rollout.shares), "its shadow was removed")


def _require_sound(rollout: Rollout, adapter: Adapter) -> int:
    if faults := list(faults_of(rollout, adapter)):
        raise Invalid("The alias can't divide its requests so.", faults)
    return main_version(rollout)


def _point(
    session: Session, adapter: Adapter, alias: str, to: int | Rollout, reason: str | None, undoes: int | None = None
) -> None:
    """`undoes` is the event of the move that is rolled back."""
    after, before = _plain(to), _target(adapter, alias)
    if after == before:
        return
    number, rollout = (after, None) if isinstance(after, int) else (main_version(after), as_stored(after))
    session.merge(AliasRow(adapter=adapter.name, alias=alias, version=number, rollout=rollout))
    why = {} if reason is None else {"reason": reason}
    undone = {} if undoes is None else {"undoes": undoes}
    moved = {"from": _as_logged(before), "to": _as_logged(after)}
    log(session, "alias.moved", f"{adapter.name}@{alias}", **moved, **undone, **why)


def _require_target(adapter: Adapter, alias: str) -> int | Rollout:
    target = _target(adapter, alias)
    if target is None:
        raise NotFound(f"The adapter {adapter.name!r} has no alias {alias!r}.")
    return target


def _target(adapter: Adapter, alias: str) -> int | Rollout | None:
    return adapter.rollouts.get(alias) or adapter.aliases.get(alias)


def _plain(to: int | Rollout) -> int | Rollout:
    """The version alone, where there is no other and no shadow."""
    if isinstance(to, int) or to.shadow is not None or len(to.shares) > 1:
        return to if isinstance(to, int) else replace(to, shares=dict(sorted(to.shares.items())))
    return next(iter(to.shares))


def _as_logged(target: int | Rollout | None) -> int | dict[str, Any] | None:
    return as_stored(target) if isinstance(target, Rollout) else target


def _as_read(told: int | dict[str, Any] | None) -> int | Rollout | None:
    return as_rollout(told) if isinstance(told, dict) else told
