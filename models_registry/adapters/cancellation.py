"""An end for long work between two of its steps, once nobody waits for its result any more."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias, TypeVar

from models_registry.errors import Cancelled

Stopped: TypeAlias = Callable[[], bool]
"""Whether nobody waits any more. Cheap, and asked from the thread that works."""

T = TypeVar("T")


def never() -> bool:
    return False


def while_wanted(steps: Iterable[T], stopped: Stopped) -> Iterator[T]:
    """Each of the `steps`. Raises `Cancelled` before the next one, and behind the last, once `stopped` says so."""
    for step in steps:
        require_wanted(stopped)
        yield step
    require_wanted(stopped)


def require_wanted(stopped: Stopped) -> None:
    """Raises `Cancelled` once `stopped` says so."""
    if stopped():
        raise Cancelled("The caller has gone, so that what was begun for them was stopped; nothing changed.")
