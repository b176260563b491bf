"""How Alembic reaches the database: on the connection that `storage.database.migrate` hands over, or from the command
line with `alembic -x url=sqlite:///var/registry.db …`."""

from alembic import context
from sqlalchemy import Connection

from models_registry.storage.database import MIGRATING, open_engine
from models_registry.storage.tables import Row


def run(connection: Connection) -> None:
    # SQLite can't alter a table in place: batch mode copies it.
    context.configure(connection=connection, target_metadata=Row.metadata, render_as_batch=True)
    context.run_migrations()


given: Connection | None = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    url = context.get_x_argument(as_dictionary=True).get("url")
    if not isinstance(url, str):
        raise SystemExit("Say which database: alembic -x url=sqlite:///var/registry.db …")
    engine = open_engine(url, MIGRATING)
    with engine.begin() as connection:
        run(connection)
    engine.dispose()
