"""Aliases that divide their requests."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("aliases", sa.Column("rollout", sa.JSON()))


def downgrade() -> None:
    with op.batch_alter_table("aliases") as aliases:
        aliases.drop_column("rollout")
