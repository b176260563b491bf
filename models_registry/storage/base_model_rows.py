"""What changes base models: `registry.py` alone calls this, inside its transactions."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypedDict

from pydantic import TypeAdapter
from sqlalchemy import select
from sqlalchemy.orm import Session

from models_registry.errors import Conflict, Invalid, NotFound
from models_registry.records import Architecture, Fault, Once, ReplicaResources, Source
from models_registry.storage.adapter_rows import remove_adapters
from models_registry.storage.creation_keys import forget_key
from models_registry.storage.events import SHA256, log
from models_registry.storage.reading import RESOURCES, SOURCE, find_base_model_row
from models_registry.storage.tables import AdapterRow, BaseModelRow, TeamRow

ARCHITECTURE = TypeAdapter(Architecture)
NAMED = 10
"""So many of the adapters that are in the way are named."""


class BaseModelOptions(TypedDict, total=False):
    """What may be asked for beside the source; None, or left out, is the source's own or the service's.

    `replacing` is when the failed model was registered whose place this one takes, if that has no adapters.
    """

    dtype: str | None
    device: str | None
    task: str | None
    num_labels: int | None
    example_inputs: Mapping[str, Any] | None
    teams: Sequence[str] | None
    resources: ReplicaResources | None
    replacing: datetime | None


class BaseModelChange(TypedDict, total=False):
    """`teams` are all that may use it, None everybody; `resources` None are the service's own."""

    teams: Sequence[str] | None
    resources: ReplicaResources | None


def add_base_model(session: Session, id: str, source: Source, wishes: BaseModelOptions) -> BaseModelRow:
    if row := session.get(BaseModelRow, id):
        if row.created_at != wishes.get("replacing") or row.failure is None:
            raise Conflict(f"There is a base model {id!r} already; remove it or choose another id.")
        remove_base_model(session, id, cascade=False)
        session.flush()
    example_inputs, teams = wishes.get("example_inputs"), wishes.get("teams")
    _require_teams(session, teams)
    row = BaseModelRow(
        id=id,
        source=SOURCE.dump_python(source, mode="json"),
        dtype=wishes.get("dtype"),
        device=wishes.get("device"),
        task=wishes.get("task"),
        num_labels=wishes.get("num_labels"),
        example_inputs=None if example_inputs is None else dict(example_inputs),
        hosted=True,
        created_at=datetime.now(UTC),
        teams=None if teams is None else sorted(set(teams)),
        resources=_stored_resources(wishes.get("resources")),
    )
    session.add(row)
    log(session, "model.registered", id, source=row.source, **({} if teams is None else {"teams": row.teams}))
    return row


def note_built(session: Session, id: str, architecture: Architecture, registered_at: datetime | None) -> BaseModelRow:
    row = _find_registration(session, id, registered_at)
    if row.fingerprint not in {None, architecture.fingerprint}:
        raise Conflict(
            f"There are other weights under the same model id {id!r}: its fingerprint is now "
            f"{architecture.fingerprint}, but its adapters belong to {row.fingerprint}. "
            "Put the old weights back, or register the new ones under another id."
        )
    if row.fingerprint is None or row.failure is not None:
        log(session, "model.built", id, fingerprint=f"{SHA256}{architecture.fingerprint}")
    row.fingerprint, row.failure = architecture.fingerprint, None
    row.parameters, row.bytes = architecture.parameters, architecture.bytes
    row.architecture = ARCHITECTURE.dump_json(architecture).decode()
    return row


def note_failure(session: Session, id: str, reason: str, registered_at: datetime | None) -> BaseModelRow:
    row = _find_registration(session, id, registered_at)
    row.failure = reason
    log(session, "model.failed", id, reason=reason)
    return row


def note_hosted(session: Session, id: str, hosted: bool) -> BaseModelRow:
    row = find_base_model_row(session, id)
    if row.hosted != hosted:
        log(session, "model.hosted" if hosted else "model.unhosted", id)
    row.hosted = hosted
    return row


def change(session: Session, id: str, change: BaseModelChange) -> BaseModelRow:
    row = find_base_model_row(session, id)
    if "teams" in change:
        _restrict(session, row, change["teams"])
    if "resources" in change:
        _change_resources(session, row, change["resources"])
    return row


def _restrict(session: Session, row: BaseModelRow, teams: Sequence[str] | None) -> None:
    _require_teams(session, teams)
    after = None if teams is None else sorted(set(teams))
    if row.teams != after:
        log(session, "model.restricted", row.id, before=row.teams, after=after)
    row.teams = after


def _change_resources(session: Session, row: BaseModelRow, resources: ReplicaResources | None) -> None:
    after = _stored_resources(resources)
    if row.resources != after:
        log(session, "model.resources", row.id, before=row.resources, after=after)
    row.resources = after


def withdraw_base_model(session: Session, id: str, registered_at: datetime, once: Once | None) -> bool:
    row = session.get(BaseModelRow, id)
    if row is None or row.created_at != registered_at:
        return True
    if session.scalar(select(AdapterRow.name).where(AdapterRow.model == id).limit(1)):
        return False
    session.delete(row)
    forget_key(session, once)
    log(session, "model.removed", id, reason=row.failure)
    return True


def remove_base_model(session: Session, id: str, cascade: bool) -> None:
    row = find_base_model_row(session, id)
    its_own = select(AdapterRow).where(AdapterRow.model == id).order_by(AdapterRow.name)
    if cascade:
        remove_adapters(session, its_own)
    elif found := [adapter.name for adapter in session.scalars(its_own.limit(NAMED + 1))]:
        names = ", ".join(found[:NAMED]) + (" and others" if len(found) > NAMED else "")
        raise Conflict(f"The base model {id!r} has adapters: {names}. Remove them first, or with it (cascade=true).")
    session.delete(row)
    log(session, "model.removed", id)


def _stored_resources(resources: ReplicaResources | None) -> dict[str, Any] | None:
    return None if resources is None else RESOURCES.dump_python(resources, mode="json")


def _require_teams(session: Session, teams: Sequence[str] | None) -> None:
    known = set(session.scalars(select(TeamRow.name).where(TeamRow.name.in_(teams or ()))))
    faults = [
        Fault(("teams", number), f"there is no team {team!r}; an admin makes it with POST /teams")
        for number, team in enumerate(teams or ())
        if team not in known
    ]
    if faults:
        raise Invalid("These teams can't be given a base model.", faults)


def _find_registration(session: Session, id: str, registered_at: datetime | None) -> BaseModelRow:
    """The model's row, if it is still the one that was registered then."""
    row = find_base_model_row(session, id)
    if registered_at not in {None, row.created_at}:
        raise NotFound(f"The base model {id!r} was removed, and another one has its id.")
    return row
