"""How answers are shown: tables for people, JSON and bare ids for scripts."""

import json
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Annotated, Any, Final, TypeAlias

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDEST: Final = 10_000


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    ID = "id"


AsFormat: TypeAlias = Annotated[
    Format, typer.Option("--format", help="A table, JSON as the service answers it, or one id a line.")
]


def print_items(items: Iterable[Any], shape: Format, head: Sequence[str], cells: Any) -> None:
    """`cells` gives an item's cells; its first one is the id. JSON is what the service said of each (`raw`)."""
    if shape is Format.JSON:
        typer.echo(json.dumps([item.raw for item in items], indent=2))
    elif shape is Format.ID:
        for item in items:
            typer.echo(cells(item)[0])
    else:
        print_table(head, map(cells, items))


def print_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Fitted to a terminal by folding long cells; whatever reads a pipe gets each row on one line."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in head:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if cell is None else str(cell)) for cell in row))  # brackets are no markup here
    terminal = Console()
    (terminal if terminal.is_terminal else Console(width=WIDEST)).print(table)


def counted(number: int, noun: str) -> str:
    """`1 target`, `12 targets`, `368,640 parameters`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
