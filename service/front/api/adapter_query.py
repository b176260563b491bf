"""What a caller searches lists of adapters for, as the query has it, and the answer's page."""

import base64
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal, TypeAlias, cast

from fastapi import Depends, Query
from pydantic import AfterValidator, AwareDatetime, Field

from models_registry.adapter_searches import AdapterSearch, PlaceInList, SortKey, Span
from models_registry.label_selectors import Selector, UnreadableSelector, read_selector
from models_registry.records import Fault
from models_registry.references import NAME, short_name
from service.front.api.adapter_answers import AdapterAnswer, show_adapter
from service.front.api.dependencies import NAME_PATTERN
from service.front.api.http.paging import Page
from service.front.api.problems import MALFORMED, Refused
from service.front.services.adapter_lists import ListedAdapters

Sort: TypeAlias = Literal["name", "-name", "created", "-created", "used", "-used"]
FIRST, LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)


def _within_reason(time: datetime) -> datetime:
    if not FIRST <= time <= LAST:
        raise ValueError("must lie in the years 1970 to 9998")
    return time


_Time = Annotated[AwareDatetime, AfterValidator(_within_reason)]
_Name = Annotated[str, Query(pattern=NAME_PATTERN)]


class AdapterPage(Page[AdapterAnswer]):
    items: list[AdapterAnswer] = Field(description="In the order that was asked for, by default by name.")
    total: int | None = Field(description="How many there are on all pages, with `count=true`.", examples=[None, 120])


@dataclass(frozen=True)
class AdapterQuery:
    """What the caller asked for."""

    limit: Annotated[int, Query(ge=1, le=200, description="At most so many items.", examples=[50])] = 50
    cursor: Annotated[
        str | None, Query(max_length=512, description="`next_cursor` of the page before.", examples=["cGlyYXRl"])
    ] = None
    labels: Annotated[
        str | None,
        Query(
            max_length=8000,
            description="A selector as Kubernetes has them: `=`, `==`, `!=`, `in`, `notin`, a label's name for those "
            "that have it, `!name` for those that lack it; all must hold.",
            examples=["stage=prod,lang in (de,en)"],
        ),
    ] = None
    method: Annotated[
        Literal["LORA", "ADALORA", "IA3"] | None, Query(description="The newest version's.", examples=["LORA"])
    ] = None
    team: Annotated[_Name | None, Query(description="Whose adapters.", examples=["fraud"])] = None
    q: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=200,
            pattern=r"^[^\x00]*$",
            description="Text in the name or the description; the case of ASCII letters doesn't matter.",
            examples=["pirate"],
        ),
    ] = None
    created_after: Annotated[_Time | None, Query(description="Then or later.", examples=["2026-11-01T00:00:00Z"])] = (
        None
    )
    created_before: Annotated[_Time | None, Query(description="Earlier.", examples=["2026-12-01T00:00:00Z"])] = None
    used_after: Annotated[
        _Time | None, Query(description="Last used by a request then or later.", examples=["2026-11-01T00:00:00Z"])
    ] = None
    used_before: Annotated[
        _Time | None, Query(description="Last used earlier; never is not earlier.", examples=["2026-11-01T00:00:00Z"])
    ] = None
    sort: Annotated[
        Sort,
        Query(description="`-` for descending; adapters that were never used are the earliest.", examples=["-used"]),
    ] = "name"
    count: Annotated[bool, Query(description="Say in `total` how many there are in all.", examples=[True])] = False

    @property
    def search(self) -> AdapterSearch:
        """Raises `Refused` (400) for a selector that can't be read."""
        return AdapterSearch(
            method=self.method,
            team=self.team,
            text=self.q,
            labels=() if self.labels is None else read_labels(self.labels),
            created=Span(self.created_after, self.created_before),
            used=Span(self.used_after, self.used_before),
            sort=cast(SortKey, self.sort.removeprefix("-")),
            descending=self.sort.startswith("-"),
        )

    @property
    def after(self) -> PlaceInList | None:
        """Where the page before ended, None for the first page. Raises `Refused` (400)."""
        is_by_name = self.sort in {"name", "-name"}
        return None if self.cursor is None else _place_at(self.cursor, is_by_name=is_by_name)


AdapterListQuery = Annotated[AdapterQuery, Depends(AdapterQuery)]


def read_labels(text: str) -> Selector:
    """Raises `Refused` (400) that says where it can't be read."""
    try:
        return read_selector(text)
    except UnreadableSelector as error:
        raise Refused(MALFORMED, f"labels can't be read. {error}", [Fault(("query", "labels"), str(error))]) from error


def show_page(listed: ListedAdapters) -> AdapterPage:
    items = [show_adapter(status, used) for status, used in zip(listed.items, listed.last_used_at, strict=True)]
    return AdapterPage(items=items, next_cursor=listed.next and _cursor_at(listed.next), total=listed.total)


def _cursor_at(place: PlaceInList) -> str:
    text = place.name if place.at is None else f"{place.name} {place.at.isoformat()}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _place_at(cursor: str, *, is_by_name: bool) -> PlaceInList:
    try:
        name, _, time = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode().partition(" ")
        at = _within_reason(datetime.fromisoformat(time)) if time else None
    except (ValueError, TypeError):  # neither base64 nor UTF-8, or no time, or one without a zone
        name, at = "", None
    if not NAME.fullmatch(short_name(name)) or (at is None) != is_by_name:
        detail = f"cursor={cursor} is none of ours, or of another sort: pass a page's next_cursor unchanged."
        raise Refused(MALFORMED, detail)
    return PlaceInList(name, at)
