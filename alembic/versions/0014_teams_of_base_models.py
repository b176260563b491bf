"""Base models that only some teams may use."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("base_models", sa.Column("teams", sa.JSON(none_as_null=True)))


def downgrade() -> None:
    with op.batch_alter_table("base_models") as models:
        models.drop_column("teams")
