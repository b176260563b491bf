"""What a caller may have meant by a name that isn't known here: a query parameter, a field, a setting."""

from collections.abc import Collection
from difflib import get_close_matches

_LONGEST = 64
"""In characters: nothing of ours has a longer name, and comparing takes as many steps as both have characters."""


def did_you_mean(given: str, known: Collection[str]) -> str | None:
    """`Did you mean 'limit'?`, or None where nothing of what is `known` looks like `given`."""
    close = get_close_matches(given.lower(), known, n=1) if len(given) <= _LONGEST else []
    return f"Did you mean {close[0]!r}?" if close else None


def name_known(known: Collection[str]) -> str:
    """What there is instead, for a message."""
    return f"Known here: {', '.join(sorted(known))}." if known else "Nothing is: leave it out."
