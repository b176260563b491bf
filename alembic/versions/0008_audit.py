"""Events say from where and by which request something was changed, and why; they are found by team and by subject."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

COLUMNS = (
    ("team", sa.String(128)),
    ("key", sa.String(16)),
    ("address", sa.String(64)),
    ("request_id", sa.String(128)),
    ("reason", sa.Text()),
)


def upgrade() -> None:
    for name, kind in COLUMNS:
        op.add_column("events", sa.Column(name, kind))
    op.create_index("ix_events_kind", "events", ["kind"])
    op.create_index("ix_events_subject", "events", ["subject"])
    _fill_teams()


def _fill_teams() -> None:
    """Of keys and teams that were made before; whoever made something then did so with a key, if anything."""
    events = sa.table(
        "events",
        sa.column("id", sa.Integer),
        sa.column("kind", sa.String),
        sa.column("subject", sa.String),
        sa.column("team", sa.String),
        sa.column("actor", sa.String),
        sa.column("key", sa.String),
        sa.column("detail", sa.JSON),
    )
    connection = op.get_bind()
    connection.execute(events.update().where(events.c.kind.startswith("team.")).values(team=events.c.subject))
    by_keys = (sa.func.length(events.c.actor) <= 16) & ~events.c.actor.startswith("oidc:")
    connection.execute(events.update().where(by_keys).values(key=events.c.actor))
    about_keys = sa.select(events.c.id, events.c.detail).where(events.c.kind.startswith("key."))
    for id, detail in connection.execute(about_keys).all():
        connection.execute(events.update().where(events.c.id == id).values(team=detail.get("team")))


def downgrade() -> None:
    op.drop_index("ix_events_subject", "events")
    op.drop_index("ix_events_kind", "events")
    with op.batch_alter_table("events") as events:
        for name, _ in COLUMNS:
            events.drop_column(name)
