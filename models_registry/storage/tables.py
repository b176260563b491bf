"""The registry's rows. They never leave `registry.py`'s transactions: `reading.py` turns them into records.

`alembic/versions` builds these tables; a test compares the two. No relationships: every query is written where it runs.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Text,
    TypeDecorator,
    select,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from models_registry.records import Visibility

Json = JSON(none_as_null=True)
Name = String(128)
# The longest is `team:adapter`, and of subjects `team:adapter@alias`.
AdapterName = String(257)
Subject = String(386)
Digest = String(64)
# A key's id, or `oidc:` and a subject of up to 255 characters.
Author = String(260)
# SQLite numbers rows by itself only where the key is its own INTEGER.
RowNumber = BigInteger().with_variant(Integer, "sqlite")


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time. SQLite has no time zones and gives back what it was given, naive."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


class Row(DeclarativeBase):
    # Constraints have names, so that a later migration can find them on every database.
    metadata: ClassVar[MetaData] = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        }
    )
    type_annotation_map: ClassVar[Mapping[Any, Any]] = {datetime: UtcDateTime, dict[str, Any]: Json, list[str]: Json}


class BaseModelRow(Row):
    __tablename__ = "base_models"

    id: Mapped[str] = mapped_column(Name, primary_key=True)
    source: Mapped[dict[str, Any]]
    dtype: Mapped[str | None] = mapped_column(Text)
    device: Mapped[str | None] = mapped_column(Text)
    task: Mapped[str | None] = mapped_column(Text)
    num_labels: Mapped[int | None]
    example_inputs: Mapped[dict[str, Any] | None]
    hosted: Mapped[bool]
    created_at: Mapped[datetime]
    fingerprint: Mapped[str | None] = mapped_column(Digest)
    parameters: Mapped[int | None] = mapped_column(BigInteger)
    bytes: Mapped[int | None] = mapped_column(BigInteger)
    failure: Mapped[str | None] = mapped_column(Text)
    # Those that may use it; null: all.
    teams: Mapped[list[str] | None]
    # As `ReplicaResources` has them; null: the service's.
    resources: Mapped[dict[str, Any] | None]
    # Hundreds of kilobytes of JSON: read only where it is needed.
    architecture: Mapped[str | None] = mapped_column(Text, deferred=True)


class AdapterRow(Row):
    __tablename__ = "adapters"
    # The adapters of a model are read by name, a page at a time.
    __table_args__ = (Index(None, "model", "name"),)

    name: Mapped[str] = mapped_column(AdapterName, primary_key=True)
    model: Mapped[str] = mapped_column(ForeignKey("base_models.id"))
    created_at: Mapped[datetime]
    # The highest number ever given, which outlives the version that had it.
    last_version: Mapped[int]
    visibility: Mapped[Visibility] = mapped_column(String(16), server_default="private")
    description: Mapped[str | None] = mapped_column(Text)
    owner: Mapped[str | None] = mapped_column(Name)
    labels: Mapped[dict[str, Any] | None]
    # By a request; a minute late, or as much as a crash lost.
    last_used_at: Mapped[datetime | None]


class VersionRow(Row):
    __tablename__ = "versions"

    adapter: Mapped[str] = mapped_column(AdapterName, ForeignKey("adapters.name"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    method: Mapped[str] = mapped_column(String(32))
    config: Mapped[dict[str, Any]]
    digest: Mapped[str] = mapped_column(Digest, index=True)
    parameters: Mapped[int] = mapped_column(BigInteger)
    bytes: Mapped[int] = mapped_column(BigInteger)
    targets: Mapped[list[str]]
    # `metadata` is SQLAlchemy's own word on a row.
    notes: Mapped[dict[str, Any]] = mapped_column("metadata")
    fingerprint: Mapped[str] = mapped_column(Digest)
    created_at: Mapped[datetime]
    created_by: Mapped[str | None] = mapped_column(Author)
    labels: Mapped[dict[str, Any] | None]


class AliasRow(Row):
    __tablename__ = "aliases"
    __table_args__ = (ForeignKeyConstraint(["adapter", "version"], ["versions.adapter", "versions.version"]),)

    adapter: Mapped[str] = mapped_column(AdapterName, primary_key=True)
    alias: Mapped[str] = mapped_column(Name, primary_key=True)
    version: Mapped[int]
    # Where it names several versions, or has a shadow: {"versions": {"3": 0.9, "4": 0.1}, "shadow"?, "shadow_share"?}.
    rollout: Mapped[dict[str, Any] | None]


class AliasCountRow(Row):
    """What was counted of an alias's requests; `against` is 0 for those that the version answered itself. It is
    removed with its alias or version, without a foreign key: late counts may be of some that were removed."""

    __tablename__ = "alias_counts"

    adapter: Mapped[str] = mapped_column(AdapterName, primary_key=True)
    alias: Mapped[str] = mapped_column(Name, primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    against: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    count: Mapped[int] = mapped_column(BigInteger)


class GenerationRow(Row):
    """One row. Its number grows with every change, and every writer holds its lock until the commit."""

    __tablename__ = "generation"
    __table_args__ = (CheckConstraint("id = 1", name="single_row"),)

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    value: Mapped[int] = mapped_column(BigInteger)


class EventRow(Row):
    """Append-only: what happened to which subject, when, and by whom (null for callers without a key)."""

    __tablename__ = "events"

    id: Mapped[int] = mapped_column(RowNumber, primary_key=True)
    # The one of this change: its writer has raised it already.
    generation: Mapped[int] = mapped_column(
        BigInteger, index=True, default=select(GenerationRow.value).scalar_subquery()
    )
    kind: Mapped[str] = mapped_column(String(64), index=True)
    subject: Mapped[str] = mapped_column(Subject, index=True)
    at: Mapped[datetime]
    actor: Mapped[str | None] = mapped_column(Author)
    detail: Mapped[dict[str, Any]]
    # Whose it is, where the subject doesn't say so.
    team: Mapped[str | None] = mapped_column(Name)
    # Of the request that made it.
    key: Mapped[str | None] = mapped_column(String(16))
    address: Mapped[str | None] = mapped_column(String(64))
    request_id: Mapped[str | None] = mapped_column(Name)
    reason: Mapped[str | None] = mapped_column(Text)


class DamagedBlobRow(Row):
    """A blob that versions name, and whose bytes were found to be wrong or gone."""

    __tablename__ = "damaged_blobs"

    digest: Mapped[str] = mapped_column(Digest, primary_key=True)
    found_at: Mapped[datetime]


class TeamRow(Row):
    """`default` is always there."""

    __tablename__ = "teams"

    name: Mapped[str] = mapped_column(Name, primary_key=True)
    created_at: Mapped[datetime]
    # Those that are set, by name.
    limits: Mapped[dict[str, Any] | None]


class TeamLevelRow(Row):
    """What all processes together have left of a team's rates, as of a moment; it is refilled since."""

    __tablename__ = "team_levels"

    team: Mapped[str] = mapped_column(Name, primary_key=True)
    requests: Mapped[float | None] = mapped_column(Double)
    tokens: Mapped[float | None] = mapped_column(Double)
    at: Mapped[datetime]


class TeamInFlightRow(Row):
    """What one process has in flight of a team. A row that is not renewed belongs to a process that has ended."""

    __tablename__ = "team_in_flight"

    process: Mapped[str] = mapped_column(String(32), primary_key=True)
    team: Mapped[str] = mapped_column(Name, primary_key=True)
    rows: Mapped[int]
    sequences: Mapped[int]
    at: Mapped[datetime]


class KeyRow(Row):
    """An API key's sha256 and what it may do. A revoked one stays: that there ever was a key closes the service."""

    __tablename__ = "keys"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    digest: Mapped[str] = mapped_column(Digest, unique=True)
    name: Mapped[str] = mapped_column(Name)
    team: Mapped[str] = mapped_column(ForeignKey("teams.name"))
    role: Mapped[str] = mapped_column(String(16))
    models: Mapped[list[str] | None]
    adapters: Mapped[list[str] | None]
    created_at: Mapped[datetime]
    created_by: Mapped[str | None] = mapped_column(Author)
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]


class UsageRow(Row):
    """What was used in an hour. An empty word, and version 0, stand for none: a primary key holds no null. Nothing
    refers to teams, keys or adapters, because usage stays when they are removed."""

    __tablename__ = "usage"

    hour: Mapped[datetime] = mapped_column(primary_key=True)
    team: Mapped[str] = mapped_column(Name, primary_key=True)
    key: Mapped[str] = mapped_column(Author, primary_key=True)
    model: Mapped[str] = mapped_column(Name, primary_key=True)
    adapter: Mapped[str] = mapped_column(AdapterName, primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    requests: Mapped[int] = mapped_column(BigInteger)
    rows: Mapped[int] = mapped_column(BigInteger)
    prompt_tokens: Mapped[int] = mapped_column(BigInteger)
    cached_tokens: Mapped[int] = mapped_column(BigInteger)
    generated_tokens: Mapped[int] = mapped_column(BigInteger)
    forward_s: Mapped[float] = mapped_column(Double)
    byte_hours: Mapped[float] = mapped_column(Double)
    errors: Mapped[int] = mapped_column(BigInteger)


class UsageMarkRow(Row):
    """How far a writer of `usage` has got: a process with its batches, or all with the stored bytes."""

    __tablename__ = "usage_marks"

    name: Mapped[str] = mapped_column(Name, primary_key=True)
    value: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[datetime]


class CreationKeyRow(Row):
    """The caller's own key of a creation that is done, with what was answered to it."""

    __tablename__ = "idempotency_keys"

    # After the team of the caller.
    key: Mapped[str] = mapped_column(String(384), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(Digest)
    answer: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(index=True)
