"""From rows to records, the way every reader needs them: `registry.py` alone calls this, inside its transactions."""

from collections.abc import Iterator

from pydantic import TypeAdapter
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from models_registry.errors import NotFound
from models_registry.records import Adapter, AdapterVersion, BaseModel, Source
from models_registry.storage.tables import AdapterRow, AliasRow, BaseModelRow, DamagedBlobRow, VersionRow

SOURCE: TypeAdapter[Source] = TypeAdapter(Source)


def find_base_model_row(session: Session, id: str) -> BaseModelRow:
    row = session.get(BaseModelRow, id)
    if row is None:
        raise NotFound(f"There is no base model {id!r}.")
    return row


def list_base_model_rows(session: Session, limit: int, after: str | None) -> Iterator[BaseModelRow]:
    page = select(BaseModelRow).order_by(BaseModelRow.id).limit(limit)
    if after is not None:
        page = page.where(BaseModelRow.id > after)
    yield from session.scalars(page)


def find_adapter(session: Session, name: str) -> Adapter:
    found = read_adapters(session, select(AdapterRow).where(AdapterRow.name == name))
    if not found:
        raise NotFound(f"There is no adapter {name!r}.")
    return found[0]


def list_adapters(session: Session, limit: int, after: str | None, model: str | None) -> tuple[Adapter, ...]:
    page = select(AdapterRow).order_by(AdapterRow.name).limit(limit)
    if after is not None:
        page = page.where(AdapterRow.name > after)
    if model is not None:
        page = page.where(AdapterRow.model == model)
    return read_adapters(session, page)


def read_adapters(session: Session, chosen: Select[AdapterRow]) -> tuple[Adapter, ...]:
    """The chosen adapters, in the order of `chosen`: one query a table, however many they are."""
    rows = session.scalars(chosen).all()
    names = select(chosen.with_only_columns(AdapterRow.name).subquery().c.name)
    models = {row.name: row.model for row in rows}
    versions: dict[str, list[AdapterVersion]] = {name: [] for name in models}
    aliases: dict[str, dict[str, int]] = {name: {} for name in models}
    with_damage = select(VersionRow, DamagedBlobRow.digest.is_not(None)).outerjoin(
        DamagedBlobRow, DamagedBlobRow.digest == VersionRow.digest
    )
    for row, damaged in session.execute(with_damage.where(VersionRow.adapter.in_(names)).order_by(VersionRow.version)):
        versions[row.adapter].append(version_record(row, models[row.adapter], damaged))
    for alias in session.scalars(select(AliasRow).where(AliasRow.adapter.in_(names))):
        aliases[alias.adapter][alias.alias] = alias.version
    return tuple(
        Adapter(row.name, row.model, row.created_at, tuple(versions[row.name]), aliases[row.name]) for row in rows
    )


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
        damaged=damaged,
    )
