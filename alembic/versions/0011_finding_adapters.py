"""Labels of versions, and when adapters were used last."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("adapters", sa.Column("last_used_at", sa.DateTime(timezone=True)))
    op.add_column("versions", sa.Column("labels", sa.JSON()))


def downgrade() -> None:
    with op.batch_alter_table("versions") as versions:
        versions.drop_column("labels")
    with op.batch_alter_table("adapters") as adapters:
        adapters.drop_column("last_used_at")
