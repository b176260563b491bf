"""The registry: base models, adapters with their versions and aliases, events, and the generation."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "base_models",
        sa.Column("id", sa.String(128), nullable=False),
        sa.Column("source", sa.JSON(), nullable=False),
        sa.Column("dtype", sa.Text()),
        sa.Column("device", sa.Text()),
        sa.Column("task", sa.Text()),
        sa.Column("example_inputs", sa.JSON()),
        sa.Column("hosted", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("fingerprint", sa.String(64)),
        sa.Column("parameters", sa.BigInteger()),
        sa.Column("bytes", sa.BigInteger()),
        sa.Column("failure", sa.Text()),
        sa.Column("architecture", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_base_models"),
    )
    op.create_table(
        "adapters",
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("model", sa.String(128), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_adapters"),
        sa.ForeignKeyConstraint(["model"], ["base_models.id"], name="fk_adapters_model_base_models"),
    )
    op.create_index("ix_adapters_model", "adapters", ["model"])
    op.create_table(
        "versions",
        sa.Column("adapter", sa.String(128), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("method", sa.String(32), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("parameters", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("targets", sa.JSON(), nullable=False),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("adapter", "version", name="pk_versions"),
        sa.ForeignKeyConstraint(["adapter"], ["adapters.name"], name="fk_versions_adapter_adapters"),
    )
    op.create_index("ix_versions_digest", "versions", ["digest"])
    op.create_table(
        "aliases",
        sa.Column("adapter", sa.String(128), nullable=False),
        sa.Column("alias", sa.String(128), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("adapter", "alias", name="pk_aliases"),
        sa.ForeignKeyConstraint(
            ["adapter", "version"],
            ["versions.adapter", "versions.version"],
            name="fk_aliases_adapter_version_versions",
        ),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(256), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.String(128)),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
    )
    op.create_index("ix_events_generation", "events", ["generation"])
    generation = op.create_table(
        "generation",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_generation"),
        sa.CheckConstraint("id = 1", name=op.f("ck_generation_single_row")),
    )
    op.bulk_insert(generation, [{"id": 1, "value": 0}])


def downgrade() -> None:
    for table in ("generation", "events", "aliases", "versions", "adapters", "base_models"):
        op.drop_table(table)
