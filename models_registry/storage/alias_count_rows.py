"""Counters of aliases' requests: added to, read, removed. `registry.py` alone calls this, inside its transactions."""

from sqlalchemy import ColumnElement, delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from models_registry.alias_counters import AliasCounter, AliasCounts
from models_registry.storage.tables import AliasCountRow, AliasRow, GenerationRow

KEY = ("adapter", "alias", "version", "against", "name")


def add_counts(session: Session, counts: AliasCounts) -> None:
    """Of aliases that are there. No change of the registry: its generation stays."""
    # Every writer of adapters takes this lock first: no alias is removed meanwhile, and no two wait for each other.
    session.execute(select(GenerationRow.value).with_for_update())
    adapters = {counter.adapter for counter in counts}
    there = {
        (adapter, alias)
        for adapter, alias in session.execute(
            select(AliasRow.adapter, AliasRow.alias).where(AliasRow.adapter.in_(adapters))
        )
    }
    rows = [
        {**{key: getattr(counter, key) for key in KEY}, "count": count}
        for counter, count in counts.items()
        if (counter.adapter, counter.alias) in there
    ]
    if not rows:
        return
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    insert = dialect.insert(AliasCountRow)
    session.execute(
        insert.on_conflict_do_update(
            index_elements=list(KEY), set_={"count": AliasCountRow.count + insert.excluded["count"]}
        ),
        rows,
    )


def read_counts(session: Session, adapter: str, alias: str) -> AliasCounts:
    rows = session.scalars(select(AliasCountRow).where(AliasCountRow.adapter == adapter, AliasCountRow.alias == alias))
    return {AliasCounter(row.adapter, row.alias, row.version, row.against, row.name): row.count for row in rows}


def forget_counts(session: Session, which: ColumnElement[bool]) -> None:
    session.execute(delete(AliasCountRow).where(which))
