"""How many replicas a base model has, and what each is given."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("base_models", sa.Column("resources", sa.JSON(none_as_null=True)))


def downgrade() -> None:
    with op.batch_alter_table("base_models") as models:
        models.drop_column("resources")
