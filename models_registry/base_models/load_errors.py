"""What a library says of files that it can't load, in one short line: its own texts list every class that it has."""

from typing import Final

LONGEST: Final = 300
"""In characters."""
_LISTS: Final = ("Model type should be one of", ", or contain one of the following strings in its name")
"""How transformers begins its lists of classes and model types."""

NO_SUCH_CLASS: Final = "Unrecognized configuration class"
"""How transformers begins where a task has no class for an architecture."""


def in_short(error: Exception) -> str:
    """The error's kind and its text, without line breaks and lists, cut where it is longer than `LONGEST`."""
    text = " ".join(str(error).split())
    for beginning in _LISTS:
        text = text.partition(beginning)[0].rstrip()
    shown = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
    return f"{type(error).__name__}: {shown}" if shown else type(error).__name__
