"""What is counted of aliases' requests."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "alias_counts",
        sa.Column("adapter", sa.String(257), nullable=False),
        sa.Column("alias", sa.String(128), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("against", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("adapter", "alias", "version", "against", "name", name="pk_alias_counts"),
    )


def downgrade() -> None:
    op.drop_table("alias_counts")
