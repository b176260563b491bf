"""Authors are a key's id, or the subject of an identity provider's token, which is longer."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

COLUMNS = (("events", "actor"), ("versions", "created_by"), ("keys", "created_by"))
NARROW, WIDE = 128, 260


def _resize(before: int, after: int) -> None:
    for table, column in COLUMNS:
        with op.batch_alter_table(table) as altered:
            altered.alter_column(
                column, type_=sa.String(after), existing_type=sa.String(before), existing_nullable=True
            )


def upgrade() -> None:
    _resize(NARROW, WIDE)


def downgrade() -> None:
    _resize(WIDE, NARROW)
