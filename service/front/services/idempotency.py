"""A creation that is requested again under its caller's key: done once, and answered each time."""

from collections.abc import Callable
from typing import TypeVar

from models_registry.errors import Conflict
from models_registry.records import Once

T = TypeVar("T")


def create_once(once: Once | None, recall: Callable[[Once], T | None], create: Callable[[], T]) -> T:
    """What `create` makes, or what was made under this key before, as `recall` finds it. Raises as both do."""
    if once is None:
        return create()
    if (earlier := recall(once)) is not None:
        return earlier
    try:
        return create()
    except Conflict:
        # The first request under this key may have committed at this moment, which makes this one conflict.
        if (earlier := recall(once)) is not None:
            return earlier
        raise
