"""Who changes the registry: said once around a request, and written beside every event and version that it makes."""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

_author: ContextVar[str | None] = ContextVar("author", default=None)


def current_author() -> str | None:
    """A key's id, or a token's subject; None for the service itself and for callers without a key."""
    return _author.get()


@contextmanager
def authored_by(author: str | None) -> Generator[None]:
    """Let `author` have made whatever is changed inside the `with`, in this task and in the threads that it waits
    for."""
    token = _author.set(author)
    try:
        yield
    finally:
        _author.reset(token)
