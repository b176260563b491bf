"""What each team may have and ask for."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("teams") as teams:
        teams.add_column(sa.Column("limits", sa.JSON()))


def downgrade() -> None:
    with op.batch_alter_table("teams") as teams:
        teams.drop_column("limits")
