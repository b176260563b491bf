"""The author of changes: set once around a request, and written beside every event and version that it makes."""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Final


@dataclass(frozen=True, slots=True)
class Author:
    """`by` is a key's id or a token's subject, None for the service itself and for callers without a key. `address` and
    `request_id` say from where and by which request they change something, `reason` what they said why."""

    by: str | None = None
    key: str | None = None
    address: str | None = None
    request_id: str | None = None
    reason: str | None = None


NOBODY: Final = Author()
_author: ContextVar[Author] = ContextVar("author", default=NOBODY)


def current_author() -> Author:
    return _author.get()


@contextmanager
def authored_by(author: Author) -> Generator[None]:
    """Let `author` have made whatever is changed inside the `with`, in this task and in the threads that it waits
    for."""
    token = _author.set(author)
    try:
        yield
    finally:
        _author.reset(token)


@contextmanager
def because(reason: str | None) -> Generator[None]:
    """Changes inside the `with` have this reason; None keeps the one that was given before."""
    author = current_author()
    with authored_by(author if reason is None else replace(author, reason=reason)):
        yield
