"""What teams use, by the hour."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    counts = ("requests", "rows", "prompt_tokens", "cached_tokens", "generated_tokens")
    op.create_table(
        "usage",
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("team", sa.String(128), nullable=False),
        sa.Column("key", sa.String(260), nullable=False),
        sa.Column("model", sa.String(128), nullable=False),
        sa.Column("adapter", sa.String(257), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False, autoincrement=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in counts),
        sa.Column("forward_s", sa.Double(), nullable=False),
        sa.Column("byte_hours", sa.Double(), nullable=False),
        sa.Column("errors", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("hour", "team", "key", "model", "adapter", "version", name="pk_usage"),
    )
    op.create_table(
        "usage_marks",
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_usage_marks"),
    )


def downgrade() -> None:
    op.drop_table("usage_marks")
    op.drop_table("usage")
