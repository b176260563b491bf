"""The door at rest: what base models and adapters there are. One method is one transaction, committed on return.

Knows rows and blobs, and hands out frozen records only. Knows no live module: that an adapter fits its base model is
checked before it comes here. A blob is put before the row that names it, so a crash leaves no row without its bytes.
"""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypedDict, Unpack

from pydantic import TypeAdapter
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from models_registry.errors import Conflict, Damaged, NotFound, Stale
from models_registry.records import Adapter, AdapterVersion, Architecture, BaseModel, RegistrySnapshot, Source
from models_registry.references import named_by, pick_version, require_name
from models_registry.storage.blobs import BlobStore
from models_registry.storage.database import Database
from models_registry.storage.reading import (
    SOURCE,
    base_model_record,
    find_adapter,
    find_base_model_row,
    read_adapters,
    version_record,
)
from models_registry.storage.tables import AdapterRow, AliasRow, BaseModelRow, EventRow, GenerationRow, VersionRow

ARCHITECTURE = TypeAdapter(Architecture)
MANY = 1000


class VersionContent(TypedDict):
    """What a version holds: `config` as PEFT writes it, `weights` as the blob's bytes, `parameters` as a count."""

    method: str
    config: Mapping[str, Any]
    weights: bytes
    parameters: int
    targets: Sequence[str]
    metadata: Mapping[str, Any]


class Registry:
    """Safe under threads and processes. Besides what it says, every method raises `Unavailable` while a store is away,
    and those that write raise `NoRoom` when it is full. A method that raises has changed nothing."""

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self._database = database
        self._blobs = blobs

    # ---- base models --------------------------------------------------------------------------------------------

    def register_base_model(
        self,
        id: str,
        source: Source,
        *,
        dtype: str | None = None,
        device: str | None = None,
        task: str | None = None,
        example_inputs: Mapping[str, Any] | None = None,
    ) -> BaseModel:
        """A new base model that its owner wants hosted. Raises `Invalid` for the id, `Conflict` if it is taken."""
        require_name("id", id)
        with self._write() as session:
            if session.get(BaseModelRow, id):
                raise Conflict(f"There is a base model {id!r} already; remove it or choose another id.")
            row = BaseModelRow(
                id=id,
                source=SOURCE.dump_python(source, mode="json"),
                dtype=dtype,
                device=device,
                task=task,
                example_inputs=None if example_inputs is None else dict(example_inputs),
                hosted=True,
                created_at=datetime.now(UTC),
            )
            session.add(row)
            _log(session, "model.registered", id, source=row.source)
            return base_model_record(row)

    def record_built(self, id: str, architecture: Architecture) -> BaseModel:
        """The model was built. The first time pins its fingerprint; later ones only clear the last failure.

        Raises `NotFound`, and `Conflict` for other weights than the pinned ones.
        """
        with self._write() as session:
            row = find_base_model_row(session, id)
            if row.fingerprint not in {None, architecture.fingerprint}:
                raise Conflict(
                    f"There are other weights under the same model id {id!r}: its fingerprint is now "
                    f"{architecture.fingerprint}, but its adapters belong to {row.fingerprint}. "
                    "Put the old weights back, or register the new ones under another id."
                )
            if row.fingerprint is None or row.failure is not None:
                _log(session, "model.built", id, fingerprint=architecture.fingerprint)
            row.fingerprint, row.failure = architecture.fingerprint, None
            row.parameters, row.bytes = architecture.parameters, architecture.bytes
            row.architecture = ARCHITECTURE.dump_json(architecture).decode()
            return base_model_record(row)

    def record_failure(self, id: str, reason: str) -> BaseModel:
        """The model could not be built. Raises `NotFound`."""
        with self._write() as session:
            row = find_base_model_row(session, id)
            row.failure = reason
            _log(session, "model.failed", id, reason=reason)
            return base_model_record(row)

    def set_hosted(self, id: str, hosted: bool) -> BaseModel:
        """Whether the owner wants the model in memory. Raises `NotFound`."""
        with self._write() as session:
            row = find_base_model_row(session, id)
            if row.hosted != hosted:
                _log(session, "model.hosted" if hosted else "model.unhosted", id)
            row.hosted = hosted
            return base_model_record(row)

    def find_base_model(self, id: str) -> BaseModel:
        """Raises `NotFound`."""
        with self._database.read() as session:
            return base_model_record(find_base_model_row(session, id))

    def find_architecture(self, id: str) -> Architecture | None:
        """The module list of the model as it was built, or None if it never was. Raises `NotFound`."""
        with self._database.read() as session:
            stored = find_base_model_row(session, id).architecture
            return None if stored is None else ARCHITECTURE.validate_json(stored)

    def list_base_models(self, limit: int, after: str | None = None) -> tuple[BaseModel, ...]:
        """At most `limit` base models by id, those after the id `after`."""
        page = select(BaseModelRow).order_by(BaseModelRow.id).limit(limit)
        if after is not None:
            page = page.where(BaseModelRow.id > after)
        with self._database.read() as session:
            return tuple(base_model_record(row) for row in session.scalars(page))

    def remove_base_model(self, id: str, cascade: bool = False) -> None:
        """Forget a base model, with `cascade` its adapters and their aliases too. The blobs stay.

        Raises `NotFound`, and `Conflict` naming the adapters that refer to it.
        """
        with self._write() as session:
            row = find_base_model_row(session, id)
            names = session.scalars(
                select(AdapterRow.name).where(AdapterRow.model == id).order_by(AdapterRow.name)
            ).all()
            if names and not cascade:
                raise Conflict(
                    f"The base model {id!r} has adapters: {', '.join(names)}. Remove them first, or ask for a cascade."
                )
            for name in names:
                _remove_adapter(session, name)
            session.delete(row)
            _log(session, "model.removed", id)

    # ---- adapters -----------------------------------------------------------------------------------------------

    def create_adapter(self, model: str, name: str, **content: Unpack[VersionContent]) -> AdapterVersion:
        """A new adapter with its version 1. Raises `Invalid` for the name, `NotFound` for the model.

        Raises `Conflict` if the name is taken, or if the model was never built: nothing can be checked against it then.
        """
        require_name("name", name)
        with self._database.read() as session:
            _require_place(session, model, name)
        digest = self._blobs.put(content["weights"])
        with self._write() as session:
            fingerprint = _require_place(session, model, name)
            adapter = AdapterRow(name=name, model=model, created_at=datetime.now(UTC), last_version=0)
            session.add(adapter)
            session.flush()
            _log(session, "adapter.created", name, model=model)
            return _append_version(session, adapter, fingerprint, digest, content)

    def add_version(
        self, name: str, *, if_match: str | None = None, **content: Unpack[VersionContent]
    ) -> AdapterVersion:
        """The next version of an adapter. A number is never given twice, not even after its version was removed.

        `if_match` is the digest (hex) of the version it builds on. Raises `NotFound`; `Stale` if that isn't the newest.
        """
        with self._database.read() as session:
            _find_to_extend(session, name, if_match)
        digest = self._blobs.put(content["weights"])
        with self._write() as session:
            adapter = _find_to_extend(session, name, if_match)
            model = find_base_model_row(session, adapter.model)
            return _append_version(session, adapter, _require_built(model), digest, content)

    def find_adapter(self, name: str) -> Adapter:
        """Raises `NotFound`."""
        with self._database.read() as session:
            return find_adapter(session, name)

    def list_adapters(self, limit: int, after: str | None = None, model: str | None = None) -> tuple[Adapter, ...]:
        """At most `limit` adapters by name, those after the name `after`, all or those of `model`."""
        page = select(AdapterRow).order_by(AdapterRow.name).limit(limit)
        if after is not None:
            page = page.where(AdapterRow.name > after)
        if model is not None:
            page = page.where(AdapterRow.model == model)
        with self._database.read() as session:
            return read_adapters(session, page)

    def resolve(self, reference: str) -> AdapterVersion:
        """The version behind `name`, `name@3` or `name@alias`. Raises `NotFound` saying which part isn't there."""
        with self._database.read() as session:
            return pick_version(find_adapter(session, named_by(reference)), reference)

    def read_weights(self, version: AdapterVersion) -> bytes:
        """The version's safetensors bytes, verified. Raises `Damaged` if they are not what was stored, or gone."""
        try:
            return self._blobs.get(version.digest)
        except NotFound as error:
            raise Damaged(version.digest) from error

    def remove_adapter(self, name: str) -> None:
        """Forget an adapter and its versions. The blobs stay. Raises `NotFound`, `Conflict` naming its aliases."""
        with self._write() as session:
            adapter = find_adapter(session, name)
            if adapter.aliases:
                raise Conflict(
                    f"The adapter {name!r} has aliases: {', '.join(sorted(adapter.aliases))}. Remove them first."
                )
            _remove_adapter(session, name)

    # ---- all of it ----------------------------------------------------------------------------------------------

    def generation(self) -> int:
        """A number that grows with every change."""
        with self._database.read() as session:
            return session.scalars(select(GenerationRow.value)).one()

    def snapshot(self, since: RegistrySnapshot | None = None) -> RegistrySnapshot:
        """Every adapter with its versions and aliases, at one moment.

        With an earlier snapshot as `since`, only what any process has changed after it is read.
        """
        chosen, kept = select(AdapterRow), dict[str, Adapter]()
        with self._database.read() as session:
            generation = session.scalars(select(GenerationRow.value)).one()
            if since is not None and since.generation == generation:
                return since
            # A database that was put back to a backup is behind `since`, and shares nothing with it for sure.
            if since is not None and since.generation < generation:
                subjects = session.scalars(select(EventRow.subject).where(EventRow.generation > since.generation))
                changed = {named_by(subject) for subject in subjects}
                # A statement takes only so many parameters.
                if len(changed) <= MANY:
                    chosen = chosen.where(AdapterRow.name.in_(changed))
                    kept = {name: adapter for name, adapter in since.adapters.items() if name not in changed}
            return RegistrySnapshot(generation, kept | {a.name: a for a in read_adapters(session, chosen)})

    def check_blobs(self) -> None:
        """Return if blobs can be read and written now. Raises `Unavailable`."""
        self._blobs.ping()

    @contextmanager
    def _write(self) -> Generator[Session]:
        # Raising the generation first takes its row's lock: writers come one after another on every database, so what
        # one of them has read stays true until it commits, and events are numbered in the order of the commits.
        with self._database.write() as session:
            session.execute(update(GenerationRow).values(value=GenerationRow.value + 1))
            yield session


def _require_built(model: BaseModelRow) -> str:
    """The model's fingerprint."""
    if model.fingerprint is None:
        raise Conflict(f"The base model {model.id!r} was never built, so that no adapter can be checked against it.")
    return model.fingerprint


def _require_place(session: Session, model: str, name: str) -> str:
    """The fingerprint of `model`, on which an adapter `name` may be created."""
    fingerprint = _require_built(find_base_model_row(session, model))
    if session.get(AdapterRow, name):
        raise Conflict(f"There is an adapter {name!r} already; add a version to it or choose another name.")
    return fingerprint


def _find_to_extend(session: Session, name: str, if_match: str | None) -> AdapterRow:
    newest = find_adapter(session, name).newest
    if if_match not in {None, newest.digest}:
        raise Stale(f"The newest version is {newest.reference} with sha256:{newest.digest}, not sha256:{if_match}.")
    return session.get_one(AdapterRow, name)


def _append_version(
    session: Session, adapter: AdapterRow, fingerprint: str, digest: str, content: VersionContent
) -> AdapterVersion:
    adapter.last_version += 1
    row = VersionRow(
        adapter=adapter.name,
        version=adapter.last_version,
        method=content["method"],
        config=dict(content["config"]),
        digest=digest,
        parameters=content["parameters"],
        bytes=len(content["weights"]),
        targets=list(content["targets"]),
        notes=dict(content["metadata"]),
        fingerprint=fingerprint,
        created_at=datetime.now(UTC),
    )
    session.add(row)
    version = version_record(row, adapter.model)
    _log(session, "version.added", version.reference, digest=digest, method=row.method)
    return version


def _remove_adapter(session: Session, name: str) -> None:
    session.execute(delete(AliasRow).where(AliasRow.adapter == name))
    session.execute(delete(VersionRow).where(VersionRow.adapter == name))
    session.execute(delete(AdapterRow).where(AdapterRow.name == name))
    _log(session, "adapter.removed", name)


def _log(session: Session, kind: str, subject: str, **detail: Any) -> None:
    session.add(EventRow(kind=kind, subject=subject, at=datetime.now(UTC), actor=None, detail=detail))
