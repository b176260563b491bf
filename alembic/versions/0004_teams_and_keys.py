"""Teams, and the keys of those who call; adapters that belong to teams."""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


# Columns that hold an adapter's name, or an idempotency key, before which a team may stand.
COLUMNS = (("adapters", "name"), ("versions", "adapter"), ("aliases", "adapter"), ("events", "subject"))
NARROW = (128, 128, 128, 257, 255)
WIDE = (257, 257, 257, 386, 384)


def _widen(before: tuple[int, ...], after: tuple[int, ...]) -> None:
    for (table, column), old, new in zip((*COLUMNS, ("idempotency_keys", "key")), before, after, strict=True):
        with op.batch_alter_table(table) as altered:
            altered.alter_column(column, type_=sa.String(new), existing_type=sa.String(old), existing_nullable=False)


def upgrade() -> None:
    teams = op.create_table(
        "teams",
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_teams"),
    )
    op.bulk_insert(teams, [{"name": "default", "created_at": datetime.now(UTC)}])
    op.create_table(
        "keys",
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("team", sa.String(128), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("models", sa.JSON()),
        sa.Column("adapters", sa.JSON()),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(128)),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
        sa.Column("revoked_at", sa.DateTime(timezone=True)),
        sa.ForeignKeyConstraint(["team"], ["teams.name"], name="fk_keys_team_teams"),
        sa.PrimaryKeyConstraint("id", name="pk_keys"),
        sa.UniqueConstraint("digest", name="uq_keys_digest"),
    )
    _widen(NARROW, WIDE)
    with op.batch_alter_table("adapters") as adapters:
        adapters.add_column(sa.Column("visibility", sa.String(16), nullable=False, server_default="private"))
        adapters.add_column(sa.Column("description", sa.Text()))
        adapters.add_column(sa.Column("owner", sa.String(128)))
        adapters.add_column(sa.Column("labels", sa.JSON()))


def downgrade() -> None:
    with op.batch_alter_table("adapters") as adapters:
        for column in ("labels", "owner", "description", "visibility"):
            adapters.drop_column(column)
    _widen(WIDE, NARROW)
    op.drop_table("keys")
    op.drop_table("teams")
