"""A bar while a file is sent or received: on a terminal alone, and beside what the command prints."""

from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

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
