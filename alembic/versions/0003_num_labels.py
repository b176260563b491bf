"""How many classes a base model's head is to have."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("base_models", sa.Column("num_labels", sa.Integer()))


def downgrade() -> None:
    op.drop_column("base_models", "num_labels")
