"""From rows to records, the way every reader needs them: `registry.py` alone calls this, inside its transactions."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, Select, Text, cast, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from models_registry.errors import NotFound
from models_registry.records import DEFAULT_TEAM, Adapter, AdapterVersion, BaseModel, ReplicaResources, Rollout, Source
from models_registry.storage.tables import AdapterRow, AliasRow, BaseModelRow, DamagedBlobRow, VersionRow

SOURCE: TypeAdapter[Source] = TypeAdapter(Source)
RESOURCES = TypeAdapter(ReplicaResources)


def find_base_model_row(session: Session, id: str) -> BaseModelRow:
    row = session.get(BaseModelRow, id)
    if row is None:
        raise NotFound(f"There is no base model {id!r}.")
    return row


def list_base_model_rows(
    session: Session, limit: int, after: str | None, among: Collection[str] | None, hidden: Collection[str]
) -> Iterator[BaseModelRow]:
    page = select(BaseModelRow).order_by(BaseModelRow.id).limit(limit)
    if after is not None:
        page = page.where(BaseModelRow.id > after)
    if among is not None:
        page = page.where(BaseModelRow.id.in_(among))
    if hidden:
        page = page.where(BaseModelRow.id.not_in(hidden))
    yield from session.scalars(page)


def find_adapter(session: Session, name: str) -> Adapter:
    found = read_adapters(session, select(AdapterRow).where(AdapterRow.name == name))
    if not found:
        raise NotFound(f"There is no adapter {name!r}.")
    return found[0]


def is_of_team(name: InstrumentedAttribute[str], team: str) -> ColumnElement[bool]:
    """Whether what the column holds belongs to the team: an adapter's name or reference as the registry keeps it."""
    if team == DEFAULT_TEAM:
        return ~name.contains(":")
    begins = f"{team}:"  # not by LIKE, which SQLite takes for the same in upper and lower case
    return func.substr(name, 1, len(begins)) == begins


def read_adapters(session: Session, chosen: Select[AdapterRow]) -> tuple[Adapter, ...]:
    """The chosen adapters, in the order of `chosen`: one query a table, however many they are."""
    names = select(chosen.with_only_columns(AdapterRow.name).subquery().c.name)
    adapters = session.scalars(chosen).all()
    versions = _read_versions(session, names, {row.name: row.model for row in adapters})
    aliases: dict[str, dict[str, int]] = {row.name: {} for row in adapters}
    rollouts: dict[str, dict[str, Rollout]] = {row.name: {} for row in adapters}
    for name, alias, version, rollout in session.execute(
        select(AliasRow.adapter, AliasRow.alias, AliasRow.version, AliasRow.rollout).where(AliasRow.adapter.in_(names))
    ):
        aliases[name][alias] = version
        if rollout is not None:
            rollouts[name][alias] = as_rollout(rollout)
    return tuple(
        Adapter(
            name=row.name,
            model=row.model,
            created_at=row.created_at,
            versions=tuple(versions[row.name]),
            aliases=aliases[row.name],
            visibility=row.visibility,
            description=row.description,
            owner=row.owner,
            labels=row.labels or {},
            rollouts=rollouts[row.name],
        )
        for row in adapters
    )


def as_stored(rollout: Rollout) -> dict[str, Any]:
    """As JSON, whose keys are texts."""
    shadow = {} if rollout.shadow is None else {"shadow": rollout.shadow, "shadow_share": rollout.shadow_share}
    return {"versions": {str(version): share for version, share in rollout.shares.items()}, **shadow}


def as_rollout(stored: Mapping[str, Any]) -> Rollout:
    """Back from `as_stored`."""
    shares = {int(version): share for version, share in stored["versions"].items()}
    return Rollout(shares, stored.get("shadow"), stored.get("shadow_share", 0.0))


def _read_versions(
    session: Session, names: Select[str], models: Mapping[str, str]
) -> Mapping[str, Sequence[AdapterVersion]]:
    """Those of the adapters `names`, which are the keys of `models`, ascending."""
    # Columns rather than rows, and a text that many versions have in common is read once: a start reads all there are.
    read_json = cache(json.loads)
    read_targets = cache(lambda text: tuple(json.loads(text)))
    found: dict[str, list[AdapterVersion]] = {name: [] for name in models}
    columns = select(
        VersionRow.adapter,
        cast(VersionRow.config, Text),
        cast(VersionRow.targets, Text),
        cast(VersionRow.notes, Text),
        VersionRow.version,
        VersionRow.method,
        VersionRow.digest,
        VersionRow.parameters,
        VersionRow.bytes,
        VersionRow.fingerprint,
        VersionRow.created_at,
        VersionRow.created_by,
        cast(VersionRow.labels, Text),
        DamagedBlobRow.digest.is_not(None),
    ).outerjoin(DamagedBlobRow, DamagedBlobRow.digest == VersionRow.digest)
    in_order = columns.where(VersionRow.adapter.in_(names)).order_by(VersionRow.adapter, VersionRow.version)
    for name, config, targets, notes, version, method, digest, parameters, size, fingerprint, *more in session.execute(
        in_order
    ):
        created_at, created_by, labels, damaged = more
        found[name].append(
            AdapterVersion(
                adapter=name,
                model=models[name],
                version=version,
                method=method,
                config=read_json(config),
                digest=digest,
                parameters=parameters,
                bytes=size,
                targets=read_targets(targets),
                metadata=read_json(notes),
                fingerprint=fingerprint,
                created_at=created_at,
                created_by=created_by,
                labels={} if labels is None else read_json(labels),
                damaged=damaged,
            )
        )
    return found


def base_model_record(row: BaseModelRow) -> BaseModel:
    return BaseModel(
        id=row.id,
        source=SOURCE.validate_python(row.source),
        dtype=row.dtype,
        device=row.device,
        task=row.task,
        example_inputs=row.example_inputs,
        hosted=row.hosted,
        created_at=row.created_at,
        fingerprint=row.fingerprint,
        parameters=row.parameters,
        bytes=row.bytes,
        failure=row.failure,
        num_labels=row.num_labels,
        teams=None if row.teams is None else tuple(row.teams),
        resources=None if row.resources is None else RESOURCES.validate_python(row.resources),
    )


def version_record(row: VersionRow, model: str, damaged: bool) -> AdapterVersion:
    return AdapterVersion(
        adapter=row.adapter,
        model=model,
        version=row.version,
        method=row.method,
        config=row.config,
        digest=row.digest,
        parameters=row.parameters,
        bytes=row.bytes,
        targets=tuple(row.targets),
        metadata=row.notes,
        fingerprint=row.fingerprint,
        created_at=row.created_at,
        created_by=row.created_by,
        labels=row.labels or {},
        damaged=damaged,
    )
