"""What processes tell each other of the teams' limits."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "team_levels",
        sa.Column("team", sa.String(128), nullable=False),
        sa.Column("requests", sa.Double()),
        sa.Column("tokens", sa.Double()),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("team", name="pk_team_levels"),
    )
    op.create_table(
        "team_in_flight",
        sa.Column("process", sa.String(32), nullable=False),
        sa.Column("team", sa.String(128), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("sequences", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("process", "team", name="pk_team_in_flight"),
    )


def downgrade() -> None:
    op.drop_table("team_in_flight")
    op.drop_table("team_levels")
