"""Lists are paged by key: `limit` items after an opaque `cursor`, which is the last name that the caller saw."""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar

from fastapi import Depends, Query
from pydantic import BaseModel, Field

from models_registry.references import NAME, short_name
from service.front.api.problems import MALFORMED, Refused

T = TypeVar("T")
Item = TypeVar("Item")


class Page(BaseModel, Generic[T]):
    items: list[T] = Field(description="By name, in ascending order.")
    next_cursor: str | None = Field(
        description="Pass it as `cursor` for the next page; null on the last one.", examples=["cGlyYXRl"]
    )


@dataclass(frozen=True, slots=True)
class Paging:
    """What the caller asked for. `after` is the last name of the page before, None for the first page."""

    limit: int
    after: str | None

    def page(self, found: Sequence[Item], name_of: Callable[[Item], str], show: Callable[[Item], T]) -> Page[T]:
        """A page of `found`, which holds one item more than `limit` where there is a next page."""
        shown = found[: self.limit]
        more = len(found) > self.limit
        return Page(items=[show(item) for item in shown], next_cursor=_cursor_at(name_of(shown[-1])) if more else None)


def read_paging(
    limit: Annotated[int, Query(ge=1, le=200, description="At most so many items.", examples=[50])] = 50,
    cursor: Annotated[
        str | None, Query(max_length=256, description="`next_cursor` of the page before.", examples=["cGlyYXRl"])
    ] = None,
) -> Paging:
    return Paging(limit, None if cursor is None else _name_at(cursor))


PagingQuery = Annotated[Paging, Depends(read_paging)]


def _cursor_at(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode().rstrip("=")


def _name_at(cursor: str) -> str:
    try:
        name = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except ValueError:  # neither base64 nor UTF-8, so no name either
        name = ""
    if not NAME.fullmatch(short_name(name)):
        raise Refused(MALFORMED, f"cursor={cursor} is none of ours: pass a page's next_cursor unchanged.")
    return name
