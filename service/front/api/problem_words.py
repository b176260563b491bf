"""A problem as one text, for APIs whose errors are nothing more."""

from collections.abc import Mapping, Sequence
from typing import Any

MOST_NAMED = 10
"""Of what is wrong, in the message."""


def message_of(problem: Mapping[str, Any]) -> str:
    """Of a problem as JSON has it: what is wrong, where, and what to do."""
    parts = [str(problem["detail"])]
    parts += [
        f"{place_of(fault['loc'])}: {fault['message']}"
        for fault in problem["errors"][:MOST_NAMED]
        if fault["message"] != problem["detail"]
    ]
    hint = problem.get("hint")
    if hint and not any(hint in part for part in parts):
        parts.append(str(hint))
    return " ".join(part if part.endswith((".", "?", "!")) else f"{part}." for part in parts)


def place_of(loc: Sequence[str | int]) -> str | None:
    """`messages[0].role`."""
    written = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in loc)
    return written.removeprefix(".") or None
