"""Creations' own keys, damaged blobs, who made a version; a model's adapters by name; room for any event's subject."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("answer", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_idempotency_keys"),
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])
    op.create_table(
        "damaged_blobs",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("found_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_damaged_blobs"),
    )
    with op.batch_alter_table("events") as events:
        events.alter_column("subject", type_=sa.String(257), existing_type=sa.String(256), existing_nullable=False)
    op.add_column("versions", sa.Column("created_by", sa.String(128)))
    op.create_index("ix_adapters_model_name", "adapters", ["model", "name"])
    op.drop_index("ix_adapters_model", "adapters")


def downgrade() -> None:
    op.create_index("ix_adapters_model", "adapters", ["model"])
    op.drop_index("ix_adapters_model_name", "adapters")
    op.drop_column("versions", "created_by")
    with op.batch_alter_table("events") as events:
        events.alter_column("subject", type_=sa.String(256), existing_type=sa.String(257), existing_nullable=False)
    op.drop_table("damaged_blobs")
    op.drop_table("idempotency_keys")
