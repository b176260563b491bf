"""A map of where an adapter acts and how strongly: layers as rows, what each layer has as columns."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from models_registry.adapters.strength import Strength

SHADES: Final = 9
_LAYER: Final = re.compile(r"(?P<before>.*?)\.(?P<layer>[0-9]+)\.(?P<name>.+)")


@dataclass(frozen=True, slots=True)
class Cell:
    """One target. `shade` is 0 where nothing is added, else 1 to `SHADES`, by its share of the strongest one; a target
    that the model's forward wasn't seen to enter has no effect."""

    target: str
    norm: float
    effective_rank: float | None
    shade: int
    entered: bool


@dataclass(frozen=True, slots=True)
class Row:
    """`cells` has one for each column, None where the adapter doesn't act."""

    layer: str
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True, slots=True)
class StrengthMap:
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    strongest: float

    @property
    def not_entered(self) -> tuple[str, ...]:
        return tuple(cell.target for row in self.rows for cell in row.cells if cell is not None and not cell.entered)


def strength_map(strengths: Sequence[Strength], entered: Collection[str] | None) -> StrengthMap:
    """`entered` are the modules that were seen to be called, None while nothing has shown it."""
    strongest = max((strength.norm for strength in strengths), default=0.0)
    cells: dict[str, dict[str, Cell]] = {}
    columns: dict[str, None] = {}
    for strength in strengths:
        layer, column = _place(strength.target)
        columns[column] = None
        shade = 0 if not strength.norm else max(1, round(SHADES * strength.norm / strongest))
        is_entered = entered is None or strength.target in entered
        cell = Cell(strength.target, strength.norm, strength.effective_rank, shade, is_entered)
        cells.setdefault(layer, {})[column] = cell
    rows = tuple(Row(layer, tuple(found.get(column) for column in columns)) for layer, found in cells.items())
    return StrengthMap(tuple(columns), rows, strongest)


def _place(target: str) -> tuple[str, str]:
    """Its layer and its name there; what lies in no numbered layer is in a row of its own."""
    found = _LAYER.fullmatch(target)
    return ("–", target) if found is None else (f"{found['before']}.{found['layer']}", found["name"])
