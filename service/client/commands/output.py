"""How answers are shown: tables for people, JSON and bare ids for scripts."""

import json
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Annotated, Any, TypeAlias

import typer
from rich.console import Console
from rich.table import Table


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
    table = Table(*head, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    Console(soft_wrap=True).print(table)


def counted(number: int, noun: str) -> str:
    """`1 target`, `12 targets`, `368,640 parameters`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
