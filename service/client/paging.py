"""The service answers lists in pages; a caller iterates over items."""

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

import httpx

from service.client.calls import Call, Send, SendAsync

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PageOf(Generic[T]):
    """`next_cursor` asks for the following page; None: this is the last one."""

    items: tuple[T, ...]
    next_cursor: str | None


Pages: TypeAlias = Callable[[str | None], Call[PageOf[T]]]
"""The call for the page at a cursor, None for the first one."""


def read_page(read: Callable[[Any], T]) -> Callable[[httpx.Response], PageOf[T]]:
    """Reads an answer as a page of what `read` makes of each item."""

    def page(answer: httpx.Response) -> PageOf[T]:
        body = answer.json()
        return PageOf(tuple(read(item) for item in body["items"]), body["next_cursor"])

    return page


def items(send: Send, pages: Pages[T]) -> Iterator[T]:
    """Every item of every page; a page is asked for when the one before is used up."""
    page = send(pages(None))
    yield from page.items
    while page.next_cursor is not None:
        page = send(pages(page.next_cursor))
        yield from page.items


async def items_async(send: SendAsync, pages: Pages[T]) -> AsyncIterator[T]:
    """As `items`, for asyncio."""
    page = await send(pages(None))
    for item in page.items:
        yield item
    while page.next_cursor is not None:
        page = await send(pages(page.next_cursor))
        for item in page.items:
            yield item
