"""Adapters by what is known of them, a page at a time: `registry.py` alone runs this, inside its transactions.

The statements are the same on SQLite and Postgres. A page continues behind a place, which is the last item's name with
the time by which it was sorted: what is added or removed meanwhile hides and repeats nothing.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime

from sqlalchemy import ColumnElement, and_, bindparam, func, literal, or_, select, update
from sqlalchemy.orm import Session

from models_registry.adapter_searches import NEVER, AdapterSearch, FoundAdapter, PlaceInList, Span
from models_registry.label_selectors import Requirement
from models_registry.storage.reading import is_of_team, read_adapters
from models_registry.storage.tables import AdapterRow, GenerationRow, UtcDateTime, VersionRow


def search_adapters(
    session: Session, search: AdapterSearch, limit: int, after: PlaceInList | None
) -> tuple[FoundAdapter, ...]:
    page = select(AdapterRow).where(*_conditions(search)).limit(limit)
    time = _time(search)
    if time is None:
        page = page.order_by(AdapterRow.name.desc() if search.descending else AdapterRow.name)
    else:
        page = page.order_by(time.desc() if search.descending else time, AdapterRow.name)
    if after is not None:
        page = page.where(_behind(after, time, search.descending))
    used = {row.name: row.last_used_at for row in session.scalars(page)}
    return tuple(FoundAdapter(adapter, used[adapter.name]) for adapter in read_adapters(session, page))


def count_adapters(session: Session, search: AdapterSearch) -> int:
    return session.scalars(select(func.count()).select_from(AdapterRow).where(*_conditions(search))).one()


def note_uses(session: Session, uses: Mapping[str, datetime]) -> None:
    """These adapters were used at these times, by requests. No change of the registry: its generation stays."""
    # Every writer of adapters takes this lock first, so that no two wait for each other's rows.
    session.execute(select(GenerationRow.value).with_for_update())
    later = update(AdapterRow).where(
        AdapterRow.name == bindparam("adapter"),
        or_(AdapterRow.last_used_at.is_(None), AdapterRow.last_used_at < bindparam("at", type_=UtcDateTime())),
    )
    values = [{"adapter": name, "at": at} for name, at in sorted(uses.items())]
    session.connection().execute(later.values(last_used_at=bindparam("at", type_=UtcDateTime())), values)


def _time(search: AdapterSearch) -> ColumnElement[datetime] | None:
    """By which the list is sorted, before the name."""
    match search.sort:
        case "created":
            return AdapterRow.created_at.expression
        case "used":
            return func.coalesce(AdapterRow.last_used_at, literal(NEVER, UtcDateTime()))
        case "name":
            return None


def _behind(place: PlaceInList, time: ColumnElement[datetime] | None, descending: bool) -> ColumnElement[bool]:
    if time is None or place.at is None:
        return AdapterRow.name < place.name if descending else AdapterRow.name > place.name
    further = time < place.at if descending else time > place.at
    return or_(further, and_(time == place.at, AdapterRow.name > place.name))


def _conditions(search: AdapterSearch) -> Iterator[ColumnElement[bool]]:
    if search.seen_by is not None:
        yield or_(AdapterRow.visibility == "shared", is_of_team(AdapterRow.name, search.seen_by))
    if search.among is not None:
        yield AdapterRow.name.in_(search.among)
    if search.models is not None:
        yield AdapterRow.model.in_(search.models)
    if search.hidden_models:
        yield AdapterRow.model.not_in(search.hidden_models)
    if search.model is not None:
        yield AdapterRow.model == search.model
    if search.team is not None:
        yield is_of_team(AdapterRow.name, search.team)
    if search.method is not None:
        newest = select(VersionRow.method).where(VersionRow.adapter == AdapterRow.name)
        yield newest.order_by(VersionRow.version.desc()).limit(1).scalar_subquery() == search.method
    if search.text is not None:
        yield or_(_name_contains(search.text), AdapterRow.description.icontains(search.text, autoescape=True))
    yield from map(_is_met, search.labels)
    yield from _within(AdapterRow.created_at.expression, search.created)
    yield from _within(AdapterRow.last_used_at.expression, search.used)


def _within(
    time: ColumnElement[datetime] | ColumnElement[datetime | None], span: Span
) -> Iterator[ColumnElement[bool]]:
    if span.after is not None:
        yield time >= span.after
    if span.before is not None:
        yield time < span.before


def _name_contains(text: str) -> ColumnElement[bool]:
    """Without the team before it."""
    name = AdapterRow.name
    escaped = text.replace("/", "//").replace("%", "/%").replace("_", "/_")
    return and_(~name.contains(":"), name.icontains(text, autoescape=True)) | name.ilike(f"%:%{escaped}%", escape="/")


def _is_met(requirement: Requirement) -> ColumnElement[bool]:
    label = AdapterRow.labels[requirement.key].as_string()
    if requirement.values is None:
        return label.is_(None) if requirement.negated else label.is_not(None)
    values = sorted(requirement.values)
    return or_(label.is_(None), label.not_in(values)) if requirement.negated else label.in_(values)
