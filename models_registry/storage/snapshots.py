"""Every adapter at one moment, read anew or caught up with: the log says which adapters were changed since."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from models_registry.records import Adapter, RegistrySnapshot
from models_registry.references import named_by
from models_registry.storage.events import SHA256
from models_registry.storage.reading import read_adapters
from models_registry.storage.tables import AdapterRow, BaseModelRow, EventRow, GenerationRow, VersionRow

MANY = 1000
"""A statement takes only so many parameters: beyond this, everything is read."""


def read_generation(session: Session) -> int:
    return session.scalars(select(GenerationRow.value)).one()


def read_snapshot(session: Session, since: RegistrySnapshot | None) -> RegistrySnapshot:
    generation = read_generation(session)
    if since is not None and since.generation == generation:
        return since
    chosen, adapters = select(AdapterRow), dict[str, Adapter]()
    # A database that was put back to a backup is behind `since`, and shares nothing with it for sure.
    if since is not None and since.generation < generation:
        changed = _adapters_changed_since(session, since.generation)
        if changed is not None:
            chosen = chosen.where(AdapterRow.name.in_(changed))
            adapters = dict(since.adapters)
            for name in changed:
                adapters.pop(name, None)
    adapters.update((adapter.name, adapter) for adapter in read_adapters(session, chosen))
    return RegistrySnapshot(generation, adapters, _read_restricted(session))


def _read_restricted(session: Session) -> dict[str, frozenset[str]]:
    chosen = select(BaseModelRow.id, BaseModelRow.teams).where(BaseModelRow.teams.is_not(None))
    return {id: frozenset(teams or ()) for id, teams in session.execute(chosen)}


def _adapters_changed_since(session: Session, generation: int) -> set[str] | None:
    """The names that an event since `generation` may concern, adapters or not; None where these are too many."""
    subjects = set(session.scalars(select(EventRow.subject).where(EventRow.generation > generation)))
    if len(subjects) > MANY:
        return None
    digests = {subject.removeprefix(SHA256) for subject in subjects if subject.startswith(SHA256)}
    names = {named_by(subject) for subject in subjects if not subject.startswith(SHA256)}
    if digests:
        names |= set(session.scalars(select(VersionRow.adapter).where(VersionRow.digest.in_(digests))))
    return names if len(names) <= MANY else None
