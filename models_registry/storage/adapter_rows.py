"""What changes adapters and their versions: `registry.py` alone calls this, inside its transactions."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final, TypedDict

from sqlalchemy import Select, delete, select
from sqlalchemy.orm import Session

from models_registry.authors import current_author
from models_registry.errors import Conflict, Stale
from models_registry.records import Adapter, AdapterVersion, AdapterWords
from models_registry.references import name_taken, pick_removable, pick_version
from models_registry.storage import alias_rows
from models_registry.storage.alias_count_rows import forget_counts
from models_registry.storage.damage import forget_unreferenced, mark_sound
from models_registry.storage.events import SHA256, log
from models_registry.storage.reading import find_adapter, find_base_model_row, read_adapters, version_record
from models_registry.storage.stored_bytes import record_removed
from models_registry.storage.tables import AdapterRow, AliasCountRow, AliasRow, VersionRow
from models_registry.storage.team_quotas import require_another_adapter, require_bytes

NO_LABELS: Final[Mapping[str, str]] = MappingProxyType({})


class VersionContent(TypedDict):
    """What a version holds: `config` as PEFT writes it, `weights` as the blob's bytes, `parameters` as a count."""

    method: str
    config: Mapping[str, Any]
    weights: bytes
    parameters: int
    targets: Sequence[str]
    metadata: Mapping[str, Any]


# ---- adapters and versions --------------------------------------------------------------------------------------


def require_place(session: Session, model: str, name: str, made_for: str | None) -> str:
    """The fingerprint of `model`, on which an adapter `name` may be created that was made for those weights."""
    fingerprint = _require_built(session, model, made_for)
    if taken := session.get(AdapterRow, name):
        raise name_taken(name, taken.model, model)
    return fingerprint


def add_adapter(session: Session, model: str, name: str) -> AdapterRow:
    require_another_adapter(session, name)
    row = AdapterRow(name=name, model=model, created_at=datetime.now(UTC), last_version=0)
    session.add(row)
    session.flush()
    log(session, "adapter.created", name, model=model)
    return row


def describe_adapter(session: Session, name: str, words: AdapterWords) -> Adapter:
    find_adapter(session, name)
    row = session.get_one(AdapterRow, name)
    before = {word: getattr(row, word) for word in words}
    for word, value in words.items():
        setattr(row, word, value)
    session.flush()
    log(session, "adapter.described", name, before=before, after=dict(words))
    return find_adapter(session, name)


def find_to_extend(
    session: Session, name: str, if_match: Collection[str] | None, made_for: str | None
) -> tuple[AdapterRow, str]:
    """The adapter whose newest version has one of the digests `if_match`, and its model's fingerprint."""
    newest = require_newest(session, name, if_match)
    return session.get_one(AdapterRow, name), _require_built(session, newest.model, made_for)


def require_newest(session: Session, name: str, if_match: Collection[str] | None) -> AdapterVersion:
    """The newest version, which has one of the digests `if_match`. Raises `NotFound`, `Stale`."""
    newest = find_adapter(session, name).newest
    if if_match is not None and newest.digest not in if_match:
        raise Stale(
            f"The newest version is {newest.reference} with sha256:{newest.digest}, which If-Match doesn't name.",
            hint=f"Look at {newest.reference}, then ask again with its ETag.",
        )
    return newest


def find_same(session: Session, name: str, digest: str, content: VersionContent) -> AdapterVersion | None:
    """The newest version, if it has this digest and config."""
    newest = find_adapter(session, name).newest
    return newest if newest.digest == digest and newest.config == content["config"] else None


def keep_version(session: Session, version: AdapterVersion) -> AdapterVersion:
    """The blob was put just now, as in `append_version`."""
    mark_sound(session, version.digest)
    return replace(version, damaged=False)


def append_version(
    session: Session,
    adapter: AdapterRow,
    fingerprint: str,
    digest: str,
    content: VersionContent,
    labels: Mapping[str, str] = NO_LABELS,
) -> AdapterVersion:
    """The blob was put just now, so that whatever was wrong with it is mended. Raises `LimitReached`."""
    require_bytes(session, adapter.name, content["weights"], digest)
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
        labels=dict(labels) or None,
        fingerprint=fingerprint,
        created_at=datetime.now(UTC),
        created_by=current_author().by,
    )
    session.add(row)
    mark_sound(session, digest)
    version = version_record(row, adapter.model, damaged=False)
    log(session, "version.added", version.reference, digest=f"{SHA256}{digest}", method=row.method)
    return version


def label_version(session: Session, name: str, number: int, labels: Mapping[str, str]) -> AdapterVersion:
    version = pick_version(find_adapter(session, name), f"{name}@{number}")
    if version.labels != labels:
        session.get_one(VersionRow, (name, number)).labels = dict(labels)
        session.flush()
        log(session, "version.described", version.reference, before=dict(version.labels), after=dict(labels))
    return replace(version, labels=labels)


def remove_version(session: Session, name: str, number: int, with_aliases: bool) -> None:
    adapter = find_adapter(session, name)
    version = pick_removable(adapter, number)
    aliases = adapter.aliases_of(number)
    if aliases and not with_aliases:
        raise Conflict(f"{version.reference} has aliases: {', '.join(aliases)}. Move or remove them first.")
    for alias in aliases:
        alias_rows.remove_alias(session, name, alias)
    alias_rows.end_shadows(session, adapter, number)
    forget_counts(session, (AliasCountRow.adapter == name) & (AliasCountRow.version == number))
    record_removed(session, (VersionRow.adapter == name) & (VersionRow.version == number))
    session.execute(delete(VersionRow).where(VersionRow.adapter == name, VersionRow.version == number))
    forget_unreferenced(session)
    log(session, "version.removed", version.reference, digest=f"{SHA256}{version.digest}")


def remove_adapter(session: Session, name: str, with_aliases: bool) -> None:
    adapter = find_adapter(session, name)
    if adapter.aliases and not with_aliases:
        raise Conflict(f"The adapter {name!r} has aliases: {', '.join(sorted(adapter.aliases))}. Remove them first.")
    remove_adapters(session, select(AdapterRow).where(AdapterRow.name == name))


def remove_adapters(session: Session, chosen: Select[AdapterRow]) -> None:
    """The chosen adapters with all that belongs to them: one statement a table, however many they are."""
    for adapter in read_adapters(session, chosen):
        versions = {version.version: f"{SHA256}{version.digest}" for version in adapter.versions}
        log(session, "adapter.removed", adapter.name, versions=versions, aliases=dict(adapter.aliases))
    names = chosen.with_only_columns(AdapterRow.name).order_by(None)
    session.execute(delete(AliasRow).where(AliasRow.adapter.in_(names)))
    forget_counts(session, AliasCountRow.adapter.in_(names))
    record_removed(session, VersionRow.adapter.in_(names))
    session.execute(delete(VersionRow).where(VersionRow.adapter.in_(names)))
    session.execute(delete(AdapterRow).where(AdapterRow.name.in_(names)))
    forget_unreferenced(session)


def _require_built(session: Session, model: str, made_for: str | None) -> str:
    """The model's fingerprint."""
    row = find_base_model_row(session, model)
    if row.fingerprint is None:
        raise Conflict(f"The base model {row.id!r} was never built, so that no adapter can be checked against it.")
    if made_for not in {None, row.fingerprint}:
        raise Conflict(
            f"The adapter was made for other weights than those of the base model {row.id!r}: for {made_for}, not for "
            f"{row.fingerprint}. Ask again."
        )
    return row.fingerprint


def is_referenced(session: Session, digest: str) -> bool:
    """Whether any version names the blob."""
    return session.scalars(select(VersionRow.digest).where(VersionRow.digest == digest).limit(1)).first() is not None


def referenced_digests(session: Session) -> frozenset[str]:
    """Every blob that a version names."""
    return frozenset(session.scalars(select(VersionRow.digest).distinct()))
