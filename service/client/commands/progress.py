"""A bar while something takes long: on a terminal alone, and beside what the command prints."""

from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from service.client.model_calls import Steps
from service.client.uploads import Watch


@contextmanager
def progress_bar(label: str) -> Generator[Watch]:
    """A progress bar for one call. It is removed once the call is done."""
    terminal = Console(stderr=True)
    columns = (TextColumn(label), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=terminal, transient=True, disable=not terminal.is_terminal) as progress:
        task = progress.add_task(label, total=None)

        def watch(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total or None)

        yield watch


@contextmanager
def step_bar(label: str) -> Generator[Steps]:
    """A bar for what has steps; it moves to and fro where nobody knows how far a step is."""
    terminal = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=terminal, transient=True, disable=not terminal.is_terminal) as progress:
        task = progress.add_task(label, total=None)

        def watch(step: str, fraction: float | None) -> None:
            total = None if fraction is None else 1.0
            progress.update(task, description=f"{label}: {step}", completed=fraction or 0.0, total=total)

        yield watch
