"""The steps in which a process writes, so that it can be killed at each: before and in the middle of every file, at
every fsync and rename, at every statement that writes, before and after every commit, around every object in a bucket.

Only the process that calls `watch_steps` is changed, from outside: the product knows nothing of it.
"""

import io
import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import obstore
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.orm import Session

P = ParamSpec("P")
R = TypeVar("R")

READS = ("SELECT", "BEGIN", "PRAGMA", "ROLLBACK")


def watch_steps(step: Callable[[str], None]) -> None:
    """Have `step` told the name of each step before this process takes it."""
    for name in ("fsync", "replace", "unlink", "utime"):
        setattr(os, name, _told(step, name, getattr(os, name)))
    for name in ("put", "delete"):
        setattr(obstore, name, _told(step, f"{name} object", getattr(obstore, name), f"object {name}"))
    io.open = _slow_open(step)  # what `Path.open` calls

    @event.listens_for(Engine, "before_cursor_execute")
    def execute(_: Connection, __: Any, statement: str, *___: Any) -> None:
        if not statement.startswith(READS):
            step(" ".join(statement.split()[:3]))

    @event.listens_for(Engine, "commit")
    def commit(_: Connection) -> None:
        step("commit")

    @event.listens_for(Session, "after_commit")
    def committed(_: Session) -> None:
        step("committed")


def _told(
    step: Callable[[str], None], before: str, function: Callable[P, R], after: str | None = None
) -> Callable[P, R]:
    @wraps(function)
    def told(*args: P.args, **kwargs: P.kwargs) -> R:
        step(before)
        result = function(*args, **kwargs)
        if after is not None:
            step(after)
        return result

    return told


def _slow_open(step: Callable[[str], None]) -> Callable[..., Any]:
    """Files that are created are written in two halves."""
    real = io.open

    class InHalves(io.BufferedWriter):
        def write(self, data: Any) -> int:
            written = super().write(data[: len(data) // 2])
            self.flush()
            step("half of a file")
            return written + super().write(data[len(data) // 2 :])

    def slow(file: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if mode != "xb":
            return real(file, mode, *args, **kwargs)
        step("create file")
        return InHalves(io.FileIO(file, "x"))

    return slow
