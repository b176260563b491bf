"""A bar while a file is sent or received: on a terminal alone, and beside what the command prints."""

from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from service.client.uploads import Watch


@contextmanager
def progress_bar(label: str) -> Generator[Watch]:
    """What a call tells how far it has come. The bar is gone once it is done."""
    terminal = Console(stderr=True)
    columns = (TextColumn(label), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=terminal, transient=True, disable=not terminal.is_terminal) as progress:
        task = progress.add_task(label, total=None)

        def watch(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total or None)

        yield watch
